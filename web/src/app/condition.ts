/** How a target is, for those who read it. */

import type { TargetView } from '../api';
import { duration, exact } from '../format';

/** The state of a target in a word, a sign and what its provider leaves. */
export function targetTold(target: TargetView): { word: string; sign: string; tone: string; more: string } {
  const left = target.remaining_tokens ?? target.remaining_requests;
  const unit = target.remaining_tokens === null ? 'requests' : 'tokens';
  const more = left === null ? '' : `${exact(left)} ${unit} left`;
  if (target.circuit === 'open') return { word: 'resting', sign: '■', tone: 'bad', more: `back in ${duration(target.rest_ms * 1_000)}` };
  if (target.benched_ms > 0) return { word: 'benched', sign: '▲', tone: 'warn', more };
  return target.circuit === 'half_open' ? { word: 'probing', sign: '▲', tone: 'warn', more } : { word: 'healthy', sign: '●', tone: 'ok', more };
}
