/** Alerts as a reader sees them. */

import type { AlertView } from '../../api';
import { duration, exact } from '../../format';

const percent = (value: number) => `${Number(value.toFixed(2))}%`;
const seconds = (value: number | null | undefined) => duration((value ?? 0) * 1e6);

const KINDS: Record<string, (one: AlertView) => string> = {
  error_rate: () => 'failed for another reason than the client’s own doing',
  unpriced: () => 'have a cost that is not known',
  ttfb: (one) => `have their first byte later than ${seconds(one.over_s)}`,
  duration: (one) => `take longer than ${seconds(one.over_s)}`,
};

export function alertSentence(one: AlertView): string {
  const where = one.format === 'slack' ? 'Slack is told' : 'A webhook is told';
  if (one.limit) return `${where} when ${percent(one.percent)} of the limit ${one.limit} ${one.forecast ? 'will be drawn at this pace' : 'are drawn'}.`;
  const kind = KINDS[one.watches]?.(one) ?? `are ${one.watches}`;
  return `${where} when ${percent(one.percent)} or more of the requests of ${seconds(one.window_s)} ${kind}, of ${exact(one.min_requests ?? 1)} at least; then it is quiet for ${seconds(one.repeat_after_s)}.`;
}

export function alertTold(one: AlertView): { sign: string; word: string; tone: 'ok' | 'warn' | 'bad' | 'dim' } {
  if (one.firing) return { sign: '▲', word: one.muted_until ? 'due, and kept quiet' : 'due', tone: one.muted_until ? 'warn' : 'bad' };
  if (one.failure) return { sign: '✕', word: 'cannot be delivered', tone: 'bad' };
  return one.muted_until ? { sign: '‖', word: 'kept quiet', tone: 'dim' } : { sign: '●', word: 'watches', tone: 'ok' };
}

/** The requests that make an alert of requests due. */
export function requestsOf(one: AlertView): string {
  const late = `:>${one.over_s ?? 0}s`;
  return { error_rate: 'status:error -blame:client', unpriced: 'cost:unpriced,no_usage', ttfb: `ttfb${late}`, duration: `duration${late}` }[one.watches] ?? '';
}
