/** From numbers to the requests that they were made of, and from one stretch of time to another. */

import type { Answer, Group } from '../api';
import { place } from '../app/place.svelte';
import { added, finding } from '../filter/language';
import { exact, share } from '../format';
import type { Bar } from './BarList.svelte';
import type { Series } from './Chart.svelte';

/** The requests that pass a filter, in the scope and time of the page. */
export const requests = (filter: string, more: Record<string, string> = {}): string =>
  place.href('/requests', { q: filter, ...more });

/** How a number changed against the stretch before; `down` is whether less is better. */
export function change(now: number | null, before: number | null | undefined, down: boolean | null): { text: string; good: boolean | null } | null {
  if (now === null || before == null || before === 0) return null;
  const by = now - before;
  // Less than that is noise, and no news.
  if (Math.abs(by) / before < 0.005) return { text: 'as before', good: null };
  const good = down === null || Math.abs(by) / before < 0.05 ? null : by < 0 === down;
  const text = by > before ? `×${(now / before).toFixed(1)}` : `${by > 0 ? '+' : '−'}${share(Math.abs(by), before)}`;
  return { text, good };
}

/** Why there is nothing to be shown, or why it is 0. Of counts a 0 needs no reason. */
function reason(value: number | null, unpriced: number | undefined, unknown: number): string | null {
  if (value === null || (value === 0 && unknown > 0)) return 'not known';
  return value === 0 && unpriced !== undefined ? 'free' : null;
}

export interface Bars {
  field: string;
  filter: string;
  /** Index of the measure that is shown. */
  measure?: number;
  /** Index of how many of a group have no known cost: an amount of 0 with such ones is no 0. */
  unpriced?: number;
  note?: (group: Group) => string;
}

/** The groups of an answer by one dimension as bars: those without a value, and the rest, too. */
export function bars(answer: Answer, { field, filter, measure = 0, unpriced, note = () => '' }: Bars): Bar[] {
  const made = answer.groups.map((group): Bar => {
    const value = group.values[measure] ?? null;
    const name = group.key[0] ?? null;
    const unknown = unpriced === undefined ? 0 : (group.values[unpriced] ?? 0);
    const why = reason(value, unpriced, unknown);
    return {
      name: name ?? 'none',
      value: value ?? 0,
      href: requests(added(filter, finding(field, name))),
      note: [note(group), unknown > 0 && value ? `${exact(unknown)} not known` : ''].filter(Boolean).join(', '),
      ...(why && { why }),
    };
  });
  if (answer.other) {
    const rest = answer.group_count - answer.groups.length;
    const value = answer.other.values[measure] ?? null;
    const why = reason(value, unpriced, unpriced === undefined ? 0 : (answer.other.values[unpriced] ?? 0));
    made.push({ name: `${rest} ${rest === 1 ? 'other' : 'others'}`, value: value ?? 0, href: null, ...(why && { why }) });
  }
  return made;
}

const COLORS = ['--series-1', '--series-2', '--series-3', '--series-4', '--series-5', '--series-6', '--series-7', '--series-8'];

/** The values of a group, one for each bucket: what has no record has `none`. */
export function pointsOf(group: Group | null | undefined, starts: number[], measure: number, none: 0 | null): (number | null)[] {
  const found = new Map((group?.points ?? []).map((point) => [Date.parse(point.start), point.values[measure] ?? none]));
  return starts.map((start) => found.get(start) ?? none);
}

/** Without those that have no value at all, and would be no line. */
export const drawn = (all: Series[]): Series[] => all.filter((one) => one.values.some((value) => value !== null));

/** The groups as series, the rest as one of its own. */
export function series(answer: Answer, starts: number[], measure: number, none: 0 | null): Series[] {
  const made = answer.groups.map((group, index) => ({
    name: group.key[0] ?? 'none',
    color: COLORS[index % COLORS.length] ?? '--series-1',
    values: pointsOf(group, starts, measure, none),
  }));
  if (answer.other) made.push({ name: 'others', color: '--series-other', values: pointsOf(answer.other, starts, measure, none) });
  return made;
}
