/** Limits as a reader sees them: in a sentence, where they stand, and what they would have done. */

import { finding, quoted } from '../../filter/language';
import { count, exact, money } from '../../format';

export type Unit = 'requests' | 'tokens' | 'cost' | 'concurrent';

/** One of `[[gateways.limits]]`: what the dashboard edits, and whatever else it has. */
export interface Limit {
  id: string;
  unit: Unit;
  /** Whole but for cost, which is in dollars. */
  limit: number;
  window?: string;
  time_zone?: string;
  technique?: string;
  by?: string[];
  only?: Record<string, string[]>;
  mode?: string;
  on_exceeded?: string;
  on_overrun?: string;
  fallback_to?: string[];
  fallback_model?: string;
  shadow?: boolean;
  max_wait?: string;
  alerts?: { at: number; forecast?: boolean }[];
}

const CALENDAR = ['minute', 'hour', 'day', 'week', 'month'] as const;
const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800, minute: 60, hour: 3_600, day: 86_400, week: 604_800, month: 2_592_000 };

/** How long its window is, in seconds; a month has 30 days. Null: it has none. */
export function length({ window = '' }: Limit): number | null {
  const named = SECONDS[window];
  if (named) return named;
  const parts = [...window.matchAll(/(\d+)([smhdw])/g)];
  const total = parts.reduce((sum, [, amount = '0', unit = '']) => sum + Number(amount) * (SECONDS[unit] ?? 0), 0);
  return total > 0 ? total : null;
}

const isCalendar = ({ window = '', technique }: Limit) => technique !== 'sliding' && CALENDAR.some((one) => one === window);

/** What is shown of an amount of its unit; cost comes in nano-dollars. */
export const shownOf = (unit: Unit): ((value: number) => string) => (unit === 'cost' ? money : count);

/** Its amount in what records are summed in: nano-dollars for cost. */
export const amount = (limit: Limit): number => (limit.unit === 'cost' ? Math.round(limit.limit * 1e9) : limit.limit);

const NAMES: Record<string, string> = { 'metadata.tenantId': 'tenant' };
const named = (dimension: string) => NAMES[dimension] ?? dimension.replace(/^metadata\./, '');

export function sentence(limit: Limit): string {
  const { unit, by = [], only = {}, window = '', time_zone, on_exceeded, fallback_to = [] } = limit;
  const who = by.length > 0 ? `Each ${by.map(named).join(' and ')}` : 'Everybody together';
  const what = unit === 'cost' ? `spend ${money(amount(limit))}` : unit === 'concurrent' ? `have ${exact(limit.limit)} requests at once` : `use ${exact(limit.limit)} ${unit}`;
  const zone = isCalendar(limit) && time_zone && time_zone !== 'UTC' ? ` (${time_zone})` : '';
  const often = unit === 'concurrent' ? '' : isCalendar(limit) ? ` a ${window}${zone}` : ` in any ${window}`;
  const conditions = Object.entries(only).map(([name, values]) => `${named(name)} ${values.join(' or ')}`);
  const of = conditions.length > 0 ? `, of requests with ${conditions.join(' and ')}` : '';
  const beyond = limit.shadow
    ? 'it only counts, and refuses nothing'
    : on_exceeded === 'warn'
      ? 'what goes beyond passes, and its record says so'
      : on_exceeded === 'fallback'
        ? `what goes beyond is sent to ${fallback_to.join(', then ') || 'the next target'}`
        : 'what goes beyond is refused';
  return `${who} may ${what}${often}${of}; ${beyond}.`;
}

/** The dimension of lists for one of limits. */
export const dimension = (name: string): string => name.replace(/^metadata\./, 'meta.');

/** The requests that it is for and that draw from it. */
export function filterOf({ only = {}, unit }: Limit): string {
  const terms = Object.entries(only).map(([name, values]) => `${dimension(name)}:${values.map(quoted).join(',')}`);
  return [...terms, ...(unit === 'requests' ? ['-outcome:refused'] : [])].join(' ');
}

/** The requests of one of its buckets. */
export function filterOfBucket(limit: Limit, key: (string | null)[]): string {
  const terms = (limit.by ?? []).map((name, index) => finding(dimension(name), key[index] ?? null));
  return [filterOf(limit), ...terms].filter(Boolean).join(' ');
}

/** What of records is drawn; null: records do not tell (requests at once). */
export const measure = ({ unit }: Limit): string | null => ({ requests: 'count', tokens: 'sum:tokens', cost: 'sum:cost', concurrent: null })[unit];

/** Year, month, day, … of a moment by the clocks of a zone; a zone that nobody knows is UTC. */
function parts(at: number, zone: string): number[] {
  const options = { hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' } as const;
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', { ...options, timeZone: zone });
  } catch {
    format = new Intl.DateTimeFormat('en-US', { ...options, timeZone: 'UTC' });
  }
  const found = new Map(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  return (['year', 'month', 'day', 'hour', 'minute', 'second'] as const).map((name) => found.get(name) ?? 0);
}

/** The moment at which the clocks of a zone show a time. */
function moment(time: number[], zone: string): number {
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0] = time;
  const wanted = Date.UTC(year, month - 1, day, hour, minute);
  let at = wanted;
  // Twice, for a zone whose offset changes in between.
  for (let n = 0; n < 2; n += 1) {
    const [y = 0, mo = 1, d = 1, h = 0, mi = 0] = parts(at, zone);
    at += wanted - Date.UTC(y, mo - 1, d, h, mi);
  }
  return at;
}

/** The window that a moment lies in, in milliseconds; one that rolls ends with the moment. */
export function around(limit: Limit, at: number): { start: number; end: number; rolls: boolean } {
  const long = (length(limit) ?? 0) * 1_000;
  if (!isCalendar(limit)) {
    const start = limit.technique === 'fixed' && long > 0 ? Math.floor(at / long) * long : at - long;
    return { start, end: limit.technique === 'fixed' ? start + long : at, rolls: limit.technique !== 'fixed' };
  }
  const zone = limit.time_zone ?? 'UTC';
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0] = parts(at, zone);
  const weekday = (new Date(Date.UTC(year, month - 1, day)).getUTCDay() + 6) % 7;
  const [start, end] = {
    minute: [[year, month, day, hour, minute], [year, month, day, hour, minute + 1]],
    hour: [[year, month, day, hour], [year, month, day, hour + 1]],
    day: [[year, month, day], [year, month, day + 1]],
    week: [[year, month, day - weekday], [year, month, day - weekday + 7]],
    month: [[year, month, 1], [year, month + 1, 1]],
  }[limit.window as (typeof CALENDAR)[number]] as [number[], number[]];
  return { start: moment(start, zone), end: moment(end, zone), rolls: false };
}

export interface Forecast {
  /** At the end of the window, if it goes on as so far. */
  atEnd: number;
  /** When the limit is reached; null: not in this window. */
  reachedAt: number | null;
}

/** Null before a twentieth of the window has passed: that tells nothing. */
export function forecast(drawn: number, of: number, window: { start: number; end: number; rolls: boolean }, now: number): Forecast | null {
  const [long, passed] = [window.end - window.start, now - window.start];
  if (window.rolls || long <= 0 || passed < long / 20) return null;
  const atEnd = Math.round((drawn / passed) * long);
  const reachedAt = drawn > 0 && drawn < of && atEnd >= of ? window.start + (of / drawn) * passed : null;
  return { atEnd, reachedAt };
}

/** How far back a change is tried, in days. */
export const LOOK_BACK_DAYS = 30;

/** What a form was filled with, without what says nothing. */
export function tidy(limit: Limit): Limit {
  const kept = Object.entries(limit).filter(([, value]) => {
    if (value === '' || value === undefined || value === null || value === false) return false;
    if (Array.isArray(value)) return value.length > 0;
    return typeof value !== 'object' || Object.keys(value).length > 0;
  });
  return Object.fromEntries(kept) as unknown as Limit;
}
