/** How an exchange went, in one of six ways: each with a word, a shape and a colour. */

import type { Outcome } from './api';

export type Health = 'ok' | 'left' | 'refused' | 'client' | 'upstream' | 'cut';

export interface Ended {
  status: number | null;
  outcome: Outcome;
}

export function health({ status, outcome }: Ended): Health {
  if (outcome === 'client_left') return 'left';
  if (outcome === 'upstream_cut' || outcome === 'overrun' || outcome === 'stopped') return 'cut';
  if (outcome === 'refused') return 'refused';
  if (outcome === 'failed' || outcome === 'panicked' || (status ?? 0) >= 500) return 'upstream';
  return (status ?? 0) >= 400 ? 'client' : 'ok';
}

const OUTCOMES: Record<Outcome, string> = {
  answered: 'answered',
  refused: 'refused by the gateway',
  failed: 'no answer could be had',
  client_left: 'the client left before the end',
  upstream_cut: 'the provider broke the answer off',
  stopped: 'the gateway was stopped',
  overrun: 'ended at a limit',
  panicked: 'the gateway failed',
};

export function told({ status, outcome }: Ended): string {
  return [status ?? 'no status', outcome === 'answered' ? '' : OUTCOMES[outcome]].filter(Boolean).join(', ');
}
