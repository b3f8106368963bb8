/** What an operator should look at now, most urgent first: each a sentence and a way there. */

import type { TargetView, TokenView } from '../../api';
import { finding } from '../../filter/language';
import { duration, exact, share } from '../../format';
import type { NearlyDrawn } from './budgets';

export interface Need {
  tone: 'bad' | 'warn';
  text: string;
  /** Null: no list of requests shows it. */
  filter: string | null;
  /** The gateway whose limits show it. */
  limits?: string;
}

export interface Facts {
  count: number;
  errors: number;
  unpriced: number;
  targets: TargetView[];
  /** Those that are stored. */
  tokens?: TokenView[];
  drawn?: NearlyDrawn[];
  /** In milliseconds. */
  now?: number;
}

const DAY_MS = 86_400_000;
/** So long before a token ends, somebody should know. */
const SOON_MS = 7 * DAY_MS;

/** From this share of failures on, somebody should look. */
const MANY = 0.05;

export function needs({ count, errors, unpriced, targets, tokens = [], drawn = [], now = 0 }: Facts): Need[] {
  const found: Need[] = [];
  if (count >= 20 && errors / count > MANY) {
    found.push({ tone: 'bad', text: `${share(errors, count)} of the requests failed`, filter: 'status:error' });
  }
  for (const target of targets.filter((one) => one.circuit === 'open')) {
    const rest = duration(target.rest_ms * 1_000);
    found.push({ tone: 'bad', text: `${target.target} of ${target.gateway} fails, and rests for another ${rest}`, filter: `target:${target.target}` });
  }
  for (const target of targets.filter((one) => one.benched_ms > 0)) {
    const rest = duration(target.benched_ms * 1_000);
    found.push({ tone: 'warn', text: `${target.target} asked to be left alone for another ${rest}`, filter: `target:${target.target}` });
  }
  for (const { gateway, limit, whose, share: of } of drawn) {
    const text = `${limit} of ${gateway} is ${of >= 1 ? 'drawn' : `${Math.round(of * 100)}% drawn`}${whose ? ` for ${whose}` : ''}`;
    found.push({ tone: of >= 1 ? 'bad' : 'warn', text, filter: null, limits: gateway });
  }
  if (unpriced > 0) {
    found.push({ tone: 'warn', text: `${exact(unpriced)} ${unpriced === 1 ? 'request has' : 'requests have'} a cost that is not known; no sum contains it`, filter: 'cost:unpriced,no_usage' });
  }
  for (const { name, expires_at, revoked_at } of tokens) {
    const left = expires_at ? Date.parse(expires_at) - now : Infinity;
    if (revoked_at || left > SOON_MS) continue;
    const text = left <= 0 ? `the token ${name} has ended` : `the token ${name} ends in ${left >= 2 * DAY_MS ? `${Math.round(left / DAY_MS)} days` : duration(left * 1_000)}`;
    found.push({ tone: 'warn', text, filter: finding('token', name) });
  }
  return found;
}
