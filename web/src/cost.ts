/** Why a cost is what it is: the sign, and the reason in words. No zero without one. */

import type { Cost, CostStatus, Row, Usage } from './api';
import { exactMoney, money } from './format';

export interface Told {
  text: string;
  /** A sign beside or in place of the amount. */
  sign: '' | '~' | '?' | '∅' | '✎';
  why: string;
}

const WHY: Record<CostStatus, string> = {
  priced: 'the provider’s usage times its price',
  estimated: 'estimated: tokens counted by the gateway, since the answer told none',
  custom: 'as the client said (cf-aig-custom-cost)',
  free: 'free: nothing was bought',
  unpriced: 'unpriced: there is a usage, but no price for it',
  no_usage: 'not known: something was bought, but the answer told no usage',
};

export function told(cost: Cost, cache: Row['cache'] = null): Told {
  const { status, nanousd } = cost;
  const isKept = cache === 'hit' || cache === 'stale';
  const why = isKept && nanousd === 0 ? 'free: answered from the cache' : WHY[status];
  if (nanousd === null) {
    return { text: status === 'unpriced' ? 'unpriced' : 'no usage', sign: status === 'unpriced' ? '?' : '∅', why };
  }
  if (nanousd === 0) return { text: isKept ? 'cached' : 'free', sign: '', why };
  const sign = status === 'estimated' ? '~' : status === 'custom' ? '✎' : '';
  return { text: money(nanousd), sign, why: `${exactMoney(nanousd)}: ${why}` };
}

/** The buckets of a usage by name, in the order in which they are explained. */
export const BUCKETS: [keyof Usage, string, 'in' | 'out' | 'piece'][] = [
  ['input', 'Input', 'in'],
  ['cache_read', 'Input read from the prompt cache', 'in'],
  ['cache_write', 'Input written to the prompt cache', 'in'],
  ['cache_write_1h', 'Input written to the prompt cache for an hour', 'in'],
  ['audio_input', 'Audio input', 'in'],
  ['audio_cache_read', 'Audio input read from the prompt cache', 'in'],
  ['image_input', 'Image input', 'in'],
  ['output', 'Output', 'out'],
  ['reasoning', 'Reasoning', 'out'],
  ['audio_output', 'Audio output', 'out'],
  ['image_output', 'Image output', 'out'],
  ['images', 'Images', 'piece'],
  ['searches', 'Searches', 'piece'],
  ['audio_ms', 'Milliseconds of audio', 'piece'],
  ['characters', 'Characters', 'piece'],
];

const summed = (usage: Usage, side: 'in' | 'out') =>
  BUCKETS.filter(([, , of]) => of === side).reduce((sum, [name]) => sum + Number(usage[name] ?? 0), 0);

export const tokensIn = (usage: Usage): number => summed(usage, 'in');
export const tokensOut = (usage: Usage): number => summed(usage, 'out');
