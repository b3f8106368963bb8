/** The stretches of time that an exchange was made of, for its waterfall. */

import type { Exchange } from '../../api';
import { duration } from '../../format';

export type SpanKind = 'gateway' | 'wait' | 'connect' | 'provider' | 'stream' | 'failed' | 'cache';

export interface Span {
  label: string;
  kind: SpanKind;
  /** Microseconds since the head of the request was read. */
  start: number;
  end: number;
  note: string;
}

/** In the order in which they began; parts of an attempt follow it. */
export function spans(exchange: Exchange): Span[] {
  const { timing, attempts = [], cache } = exchange;
  const found: Span[] = [];
  const first = attempts[0];
  const until = first?.started_us ?? timing.ttfb_us ?? timing.total_us;
  if (timing.queue_us > 0) {
    found.push(span('Receiving the request', 'wait', 0, timing.queue_us, 'the client sends its body'));
  }
  const prepared = first ? 'routing, authentication, limits, cache' : 'the gateway answered by itself';
  found.push(span('Gateway', 'gateway', timing.queue_us, Math.max(until, timing.queue_us), prepared));
  for (const index of attempts.keys()) found.push(...attemptSpans(exchange, index));
  const isKept = cache?.status === 'hit' || cache?.status === 'stale';
  if (isKept && timing.ttfb_us != null && timing.total_us > timing.ttfb_us) {
    found.push(span('Answer from the cache', 'cache', timing.ttfb_us, timing.total_us, age(cache?.age_s)));
  }
  return found;
}

const age = (seconds: number | undefined) =>
  seconds === undefined ? '' : `kept for ${duration(seconds * 1e6)}`;

function span(label: string, kind: SpanKind, start: number, end: number, note: string): Span {
  return { label, kind, start, end: Math.max(start, end), note };
}

function attemptSpans(exchange: Exchange, index: number): Span[] {
  const { attempts = [], timing } = exchange;
  const attempt = attempts[index];
  if (!attempt) return [];
  const found: Span[] = [];
  const start = attempt.started_us;
  if (attempt.wait_us) {
    const why = attempt.wait_reason === 'backoff' ? 'backoff' : `asked for by ${attempt.wait_reason ?? 'the gateway'}`;
    found.push(span('Wait', 'wait', start - attempt.wait_us, start, why));
  }
  const isLast = index === attempts.length - 1;
  const name = attempts.length > 1 ? `Attempt ${index + 1} · ${attempt.target}` : attempt.target;
  if (attempt.connect_us > 0) {
    found.push(span(`${name}: connect`, 'connect', start, start + attempt.connect_us, 'DNS, TCP and TLS'));
  }
  const sent = start + attempt.connect_us;
  if (attempt.error || attempt.ttfb_us === undefined) {
    const next = attempts[index + 1];
    const end = isLast ? timing.total_us : next ? next.started_us - (next.wait_us ?? 0) : sent;
    const why = attempt.cancelled_by ? `another send was faster (${attempt.cancelled_by})` : (attempt.cause ?? attempt.error ?? '');
    found.push(span(`${name}: no answer`, 'failed', sent, Math.min(end, timing.total_us), why));
    return found;
  }
  const head = start + attempt.ttfb_us;
  const failed = (attempt.status ?? 0) >= 400;
  const reused = attempt.reused ? 'on a kept connection' : '';
  found.push(span(`${name}: first byte`, failed ? 'failed' : 'provider', sent, head, [`status ${attempt.status}`, reused].filter(Boolean).join(', ')));
  if (isLast) found.push(...answerSpans(exchange, name, head));
  return found;
}

/** From the head of the answer to its end, with the first token in between where there is one. */
function answerSpans(exchange: Exchange, name: string, head: number): Span[] {
  const { timing, response, stream } = exchange;
  const found: Span[] = [];
  const first = timing.ttft_us ?? null;
  if (stream && first !== null && first > head) {
    found.push(span(`${name}: first token`, 'provider', head, first, ''));
  }
  const from = stream && first !== null ? Math.max(first, head) : head;
  if (timing.total_us > from) {
    const events = response.events ? `${response.events} events` : '';
    found.push(span(`${name}: ${stream ? 'stream' : 'body'}`, 'stream', from, timing.total_us, events));
  }
  return found;
}

export interface Cadence {
  /** Pauses between pieces, in microseconds, with when each ended. */
  gaps: { at: number; us: number; stalled: boolean }[];
  median: number;
  longest: number;
}

/** A pause is a stall if it is ten times the median, and at least half a second. */
export function cadence(times: readonly number[]): Cadence | null {
  if (times.length < 3) return null;
  const pauses = times.slice(1).map((at, index) => ({ at, us: at - (times[index] ?? at) }));
  const sorted = pauses.map((one) => one.us).sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1] ?? 0;
  const stall = Math.max(500_000, 10 * median);
  return {
    gaps: pauses.map((one) => ({ ...one, stalled: one.us >= stall })),
    median,
    longest: sorted.at(-1) ?? 0,
  };
}
