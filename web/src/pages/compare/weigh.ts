/** Two groups of requests, weighed: each number with how sure it is, and how sure the difference. */

import type { Answer, Row } from '../../api';
import { tokensIn, tokensOut } from '../../cost';
import { measures as quantiles } from '../../density';
import { count, duration, exact, money, share as percent } from '../../format';
import { betweenMeans, betweenShares, mean, percentile, share, side, type Interval, type Mean } from '../../stats';

/** Rows of each group that are looked at one by one, the newest. */
export const SAMPLE = 1_000;

export const MEASURES = ['count', 'errors', 'cached', 'unpriced', 'estimated', 'sum:cost', 'known:cost', 'sum:tokens_in', 'known:tokens_in', 'sum:tokens_out', 'known:tokens_out', 'p50:ttft', 'p95:ttft', 'p50:duration', 'p95:duration', 'known:ttft'];
export const SPREADS = { duration: quantiles('duration'), ttft: quantiles('ttft') };

export interface Side {
  /** In the order of `MEASURES`. */
  total: Answer['total'];
  rows: Row[];
}

export interface Weighed {
  name: string;
  a: string;
  b: string;
  /** Intervals, in words; empty: none. */
  aRange: string;
  bRange: string;
  difference: string;
  range: string;
  /** Which of both is better, if that is sure; `other`: they surely differ, and neither is better. */
  verdict: 'a' | 'b' | 'other' | 'unclear' | 'none';
  /** Why a number is missing. */
  note?: string;
}

type Shown = (value: number) => string;

const at = (of: Side, name: string): number | null => of.total.values[MEASURES.indexOf(name)] ?? null;
const numbers = (rows: Row[], value: (row: Row) => number | null | undefined): number[] => rows.flatMap((row) => value(row) ?? []);
const ranged = (one: Interval | null, shown: Shown): string => (one ? `${shown(Math.max(0, one.low))} – ${shown(one.high)}` : '');
const signed = (value: number, shown: Shown): string => `${value < 0 ? '−' : '+'}${shown(Math.abs(value))}`;

function weighed(name: string, [a, b]: [Interval | null, Interval | null], between: Interval | null, shown: Shown, less: boolean | null): Weighed {
  const sure = between && side(between);
  const better = !sure ? 'unclear' : less === null ? 'other' : (sure < 0) === less ? 'b' : 'a';
  return {
    name, a: a ? shown(a.at) : '–', b: b ? shown(b.at) : '–', aRange: ranged(a, shown), bRange: ranged(b, shown),
    difference: between ? signed(between.at, shown) : '', range: between ? `${signed(between.low, shown)} to ${signed(between.high, shown)}` : '',
    verdict: between ? better : 'none',
  };
}

function ofShares(name: string, parts: [number, number, number, number], less: boolean | null): Weighed {
  const [a, b] = [share(parts[0], parts[1]), share(parts[2], parts[3])];
  return weighed(name, [a, b], a && b ? betweenShares(a, b) : null, (value) => percent(value, 1), less);
}

/** `sum` and `known` name measures; `value` takes the same out of a row. */
function ofMeans(name: string, sides: [Side, Side], [sum, known]: [string, string], value: (row: Row) => number | null | undefined, shown: Shown, less: boolean | null): Weighed {
  const [a, b] = sides.map((one): Mean | null => {
    const of = at(one, known) ?? 0;
    return mean((at(one, sum) ?? 0) / Math.max(1, of), of, numbers(one.rows, value));
  }) as [Mean | null, Mean | null];
  return weighed(name, [a, b], a && b ? betweenMeans(a, b) : null, shown, less);
}

/** Percentiles of histograms, with how far they may be off from the sample. */
function ofPercentiles(name: string, sides: [Side, Side], measure: string, p: number, value: (row: Row) => number | null | undefined): Weighed {
  const [a, b] = sides.map((one): Interval | null => {
    const found = percentile(numbers(one.rows, value), p);
    const exactly = at(one, measure);
    return found && exactly !== null ? { at: exactly, low: Math.min(found.low, exactly), high: Math.max(found.high, exactly) } : null;
  }) as [Interval | null, Interval | null];
  // Of percentiles it is sure where their intervals do not meet: stricter than need be.
  const between = a && b ? { at: b.at - a.at, low: b.low - a.high, high: b.high - a.low } : null;
  return weighed(name, [a, b], between, duration, true);
}

/** What somebody said of the answers; only what is in the sample. */
function ofFeedback(sides: [Side, Side]): Weighed[] {
  const said = sides.map((one) => numbers(one.rows, (row) => row.feedback).filter((value) => value !== 0));
  const good = said.map((one) => one.filter((value) => value > 0).length);
  const scores = sides.map((one) => numbers(one.rows, (row) => row.score)) as [number[], number[]];
  const [a, b] = scores.map((one) => mean(one.reduce((sum, value) => sum + value, 0) / Math.max(1, one.length), one.length, one)) as [Mean | null, Mean | null];
  const up = ofShares('Thumbs up', [good[0] ?? 0, said[0]?.length ?? 0, good[1] ?? 0, said[1]?.length ?? 0], false);
  const score = weighed('Score', [a, b], a && b ? betweenMeans(a, b) : null, (value) => value.toFixed(1), false);
  const none = 'nobody said enough';
  return [said.every((one) => one.length > 0) ? { ...up, note: `of ${said[0]?.length} and ${said[1]?.length} that were judged` } : { ...up, note: none }, a && b ? score : { ...score, note: none }];
}

/** Every number of two groups, beside one another. */
export function weigh(a: Side, b: Side): Weighed[] {
  const both: [Side, Side] = [a, b];
  const [n, m] = [at(a, 'count') ?? 0, at(b, 'count') ?? 0];
  const parts = (name: string): [number, number, number, number] => [at(a, name) ?? 0, n, at(b, name) ?? 0, m];
  const unknown = (at(a, 'unpriced') ?? 0) + (at(b, 'unpriced') ?? 0);
  const plain = (name: string, value: (of: Side) => number, shown: Shown): Weighed => ({ name, a: shown(value(a)), b: shown(value(b)), aRange: '', bRange: '', difference: '', range: '', verdict: 'none' });
  return [
    plain('Requests', (of) => at(of, 'count') ?? 0, exact),
    plain('Spent', (of) => at(of, 'sum:cost') ?? 0, money),
    { ...ofMeans('Cost per request', both, ['sum:cost', 'known:cost'], (row) => row.cost.nanousd, (value) => money(Math.round(value)), true), ...(unknown > 0 && { note: `${exact(unknown)} without a known cost left out` }) },
    ofPercentiles('First token, median', both, 'p50:ttft', 0.5, (row) => row.timing.ttft_us),
    ofPercentiles('First token, p95', both, 'p95:ttft', 0.95, (row) => row.timing.ttft_us),
    ofPercentiles('Total time, median', both, 'p50:duration', 0.5, (row) => row.timing.total_us),
    ofPercentiles('Total time, p95', both, 'p95:duration', 0.95, (row) => row.timing.total_us),
    ofMeans('Input tokens per request', both, ['sum:tokens_in', 'known:tokens_in'], (row) => row.usage && tokensIn(row.usage), count, null),
    ofMeans('Output tokens per request', both, ['sum:tokens_out', 'known:tokens_out'], (row) => row.usage && tokensOut(row.usage), count, null),
    ofShares('Failed', parts('errors'), true),
    ofShares('From the cache', parts('cached'), null),
    ...ofFeedback(both),
  ];
}

export interface Pair {
  a: Row;
  b: Row;
  /** What both have in common; empty: nothing, they are the newest. */
  by: string;
}

/** Requests of both groups that belong together: of the same value of a key, or by their age. */
export function pairs(a: readonly Row[], b: readonly Row[], key: string): Pair[] {
  if (key === '') return a.slice(0, b.length).flatMap((one, index) => (b[index] ? [{ a: one, b: b[index], by: '' }] : []));
  const of = new Map<string, Row[]>();
  for (const row of b) {
    const value = row.metadata[key];
    if (value !== undefined) of.set(String(value), [...(of.get(String(value)) ?? []), row]);
  }
  return a.flatMap((one) => {
    const value = one.metadata[key];
    const other = value === undefined ? undefined : of.get(String(value))?.shift();
    return other ? [{ a: one, b: other, by: String(value) }] : [];
  });
}
