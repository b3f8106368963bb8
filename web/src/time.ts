/** Time ranges: how they are spelled in addresses, and what they mean at a moment. */

import { clock, day } from './format';

/** `now`, `now-90m`, or RFC 3339. */
export type Instant = string;

export interface Range {
  from: Instant;
  to: Instant;
}

export const DEFAULT_RANGE: Range = { from: 'now-1h', to: 'now' };

export const PRESETS: { label: string; range: Range }[] = [
  { label: 'Last 15 minutes', range: { from: 'now-15m', to: 'now' } },
  { label: 'Last hour', range: { from: 'now-1h', to: 'now' } },
  { label: 'Last 6 hours', range: { from: 'now-6h', to: 'now' } },
  { label: 'Last 24 hours', range: { from: 'now-24h', to: 'now' } },
  { label: 'Last 7 days', range: { from: 'now-7d', to: 'now' } },
  { label: 'Last 30 days', range: { from: 'now-30d', to: 'now' } },
  { label: 'Last 90 days', range: { from: 'now-90d', to: 'now' } },
];

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };
const RELATIVE = /^now(?:-(\d{1,6})([smhdw]))?$/;

/** Milliseconds of an instant; null for what is none. */
export function instant(text: Instant, now: number): number | null {
  const relative = RELATIVE.exec(text);
  if (relative) {
    const [, length, unit] = relative;
    return now - (length && unit ? Number(length) * (SECONDS[unit] ?? 0) * 1_000 : 0);
  }
  const parsed = Date.parse(text);
  return /^\d{4}-\d\d-\d\d/.test(text) && !Number.isNaN(parsed) ? parsed : null;
}

/** A range in milliseconds; null if an end is no instant, or the end is not after the start. */
export function resolve(range: Range, now: number): { since: number; until: number } | null {
  const [since, until] = [instant(range.from, now), instant(range.to, now)];
  return since !== null && until !== null && since < until ? { since, until } : null;
}

export const isLive = (range: Range): boolean => range.to === 'now';

/** The range as a reader calls it. */
export function label(range: Range, now: number): string {
  const preset = PRESETS.find((one) => one.range.from === range.from && one.range.to === range.to);
  if (preset) return preset.label;
  const span = resolve(range, now);
  if (!span) return 'Invalid range';
  if (isLive(range) && range.from.startsWith('now-')) return `Last ${range.from.slice(4)}`;
  const [from, to] = [new Date(span.since), new Date(span.until)];
  const end = from.toDateString() === to.toDateString() ? clock(to) : `${day(to)} ${clock(to)}`;
  return `${day(from)} ${clock(from)} – ${end}`;
}

const STEPS = [1, 5, 10, 30, 60, 300, 600, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800];

/** The length of a bucket in seconds, so that a span has at most `most` of them. */
export function step(spanMs: number, most: number): number {
  const least = spanMs / 1_000 / most;
  return STEPS.find((seconds) => seconds >= least) ?? Math.ceil(least / 604_800) * 604_800;
}

/** The start of every bucket that touches the span, in milliseconds. */
export function buckets(since: number, until: number, seconds: number): number[] {
  const length = seconds * 1_000;
  const starts: number[] = [];
  for (let at = Math.floor(since / length) * length; at < until; at += length) starts.push(at);
  return starts;
}
