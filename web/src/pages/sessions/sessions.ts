/** Sessions: requests that have the same value of one key of their metadata. */

import type { Answer, Row } from '../../api';
import { tokensIn, tokensOut } from '../../cost';

export const USUAL_KEY = 'sessionId';

/** A key that may stand in a filter as it is. */
export const isKey = (key: string): boolean => /^[A-Za-z0-9_-]{1,64}$/.test(key);

export const MEASURES = ['count', 'errors', 'sum:cost', 'unpriced', 'sum:tokens_in', 'sum:tokens_out', 'sum:cache_read', 'sum:duration', 'sum:attempts'];

export interface Session {
  id: string;
  count: number;
  errors: number;
  cost: number | null;
  unpriced: number;
  tokensIn: number;
  tokensOut: number;
  cacheRead: number;
  busyUs: number;
  attempts: number;
  /** Of the stretches in which it had requests, the first and the last. */
  first: number;
  last: number;
  /** Requests in each stretch. */
  counts: Map<number, number>;
}

export function sessions(answer: Answer): Session[] {
  return answer.groups.flatMap(({ key: [id], values, points }) => {
    if (id == null) return [];
    const [count, errors, cost, unpriced, tokensIn, tokensOut, cacheRead, busyUs, attempts] = values;
    const counts = new Map(points.map((point) => [Date.parse(point.start), point.values[0] ?? 0]));
    const starts = [...counts.keys()];
    return [{
      id, count: count ?? 0, errors: errors ?? 0, cost: cost ?? null, unpriced: unpriced ?? 0, tokensIn: tokensIn ?? 0, tokensOut: tokensOut ?? 0,
      cacheRead: cacheRead ?? 0, busyUs: busyUs ?? 0, attempts: attempts ?? 0, first: Math.min(...starts), last: Math.max(...starts), counts,
    }];
  });
}

export interface Turn {
  row: Row;
  /** From the start of the session's first request, in microseconds. */
  startUs: number;
  /** Since the end of the request before; 0 where they overlap, or it is the first. */
  pauseUs: number;
  /** Up to and with this one. */
  cost: number;
  unknown: number;
  tokens: number;
  /** Share of its input that the provider had in its prompt cache; null: no usage. */
  kept: number | null;
  callsTools: boolean;
}

/** The requests of a session in their order, with what they came to together. */
export function turns(rows: readonly Row[]): Turn[] {
  const ordered = rows.toSorted((a, b) => (a.created_at < b.created_at ? -1 : 1));
  const began = Date.parse(ordered[0]?.created_at ?? '');
  const sum = { end: 0, cost: 0, unknown: 0, tokens: 0 };
  return ordered.map((row, index) => {
    const startUs = (Date.parse(row.created_at) - began) * 1_000;
    const pauseUs = index === 0 ? 0 : Math.max(0, startUs - sum.end);
    const input = row.usage ? tokensIn(row.usage) : 0;
    sum.end = Math.max(sum.end, startUs + row.timing.total_us);
    sum.cost += row.cost.nanousd ?? 0;
    sum.unknown += row.cost.nanousd === null ? 1 : 0;
    sum.tokens += row.usage ? input + tokensOut(row.usage) : 0;
    const kept = input > 0 ? (row.usage?.cache_read ?? 0) / input : null;
    return { row, startUs, pauseUs, cost: sum.cost, unknown: sum.unknown, tokens: sum.tokens, kept, callsTools: /tool|function/.test(row.finish_reason ?? '') };
  });
}
