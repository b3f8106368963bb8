/** What a store takes, in words. */

import type { Storage } from '../../api';
import { bytes, duration } from '../../format';

/** Fewer days than these should be known, and fewer than those are urgent. */
const [SOON, NOW] = [30, 7];

export function room({ days_left, full_at, bytes_per_day }: Pick<Storage, 'days_left' | 'full_at' | 'bytes_per_day'>): { text: string; tone: '' | 'warn' | 'bad' } {
  if (bytes_per_day === null) return { text: 'There is no whole day yet to go by.', tone: '' };
  if (full_at === null) return { text: 'It never fills the disk: what is removed of its own accord makes room before.', tone: '' };
  const left = days_left ?? 0;
  const date = new Date(full_at).toISOString().slice(0, 10);
  const text = left > 3_650 ? 'There is room for more than ten years, at this pace.' : `There is room for ${left === 1 ? 'a day' : `${left} days`} at this pace, until about ${date}.`;
  return { text, tone: left < NOW ? 'bad' : left < SOON ? 'warn' : '' };
}

export function keptTold({ max_bytes, max_age_s, max_body_age_s }: Storage['retention']): string {
  const parts = [
    max_age_s === null ? '' : `records are removed after ${duration(max_age_s * 1e6)}`,
    max_body_age_s === null ? '' : `bodies after ${duration(max_body_age_s * 1e6)}`,
    max_bytes === null ? '' : `the oldest go beyond ${bytes(max_bytes)}`,
  ].filter(Boolean);
  if (parts.length === 0) return 'Nothing is removed of its own accord: set retention_age, body_retention_age or retention_bytes of records.';
  const text = parts.join(', ');
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

const PARTS = [
  ['journal_bytes', 'Journal', 'the records themselves, with their bodies'],
  ['index_bytes', 'Indexes', 'where frames and words of the journal are; made again if lost'],
  ['column_bytes', 'Columns', 'what lists and sums read'],
  ['rollup_bytes', 'Sums', 'of hours, for long stretches of time'],
  ['overlay_bytes', 'Said later', 'feedback, scores, comments and deletions'],
  ['torn_bytes', 'Torn', 'what crashes left, kept aside'],
] as const;

/** Those that take something, the largest first. */
export const rowsOf = (found: Storage) =>
  PARTS.map(([key, name, help]) => ({ name, help, bytes: found[key] })).filter((one) => one.bytes > 0).toSorted((a, b) => b.bytes - a.bytes);
