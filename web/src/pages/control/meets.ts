/** Which requests of before a change of a gateway would have met, as questions about records. */

import type { Change } from '../../app/changes.svelte';
import { finding } from '../../filter/language';
import { standIns, targetsOf } from './chains';
import type { Limit } from './limits';

/** Requests that something holds for, and what would have been otherwise. */
export interface Meeting {
  filter: string;
  /** Behind `12 of 40 requests`. */
  would: string;
}

/** What a provider failed to answer. */
const FAILED = 'status:5xx';

type Json = Record<string, unknown>;
const isFrom = (before: Json, after: Json, name: string) => before[name] !== after[name];

function ofFields(before: Json, after: Json): Meeting[] {
  const found: Meeting[] = [];
  const add = (is: boolean, filter: string, would: string) => void (is && found.push({ filter, would }));
  const changed = (name: string) => name in after && isFrom(before, after, name);
  add(changed('authentication') && after.authentication === true, '-token:*', 'came without a token, and would have been refused');
  add(changed('collect_logs') && after.collect_logs === false, '', 'would have left no record');
  add(changed('cache_ttl') && Number(after.cache_ttl) === 0, 'cache:hit,stale', 'were answered from the cache, and would have been asked of their provider unless they asked for the cache themselves');
  add(changed('cache_ttl') && Number(before.cache_ttl ?? 0) === 0, '-cache:hit,miss,stale', 'did not ask for the cache, and would have been looked up in it');
  add(changed('retry_max_attempts') && Number(after.retry_max_attempts) > Number(before.retry_max_attempts ?? 1), `${FAILED} attempts:>0`, 'ended in a failure of their provider, which would have been asked again');
  add(changed('retry_max_attempts') && Number(after.retry_max_attempts) < Number(before.retry_max_attempts ?? 1), 'attempts:>1', 'were sent more than once');
  return found;
}

function ofTargets(before: Json, after: Json): Meeting[] {
  const [was, is] = [targetsOf(before), targetsOf(after)];
  const removed = was.filter((one) => !is.some(({ name }) => name === one.name));
  const chained = is.filter(({ name }) => standIns(before, name).join() !== standIns(after, name).join());
  return [
    ...removed.map(({ name }) => ({ filter: finding('target', name), would: `were answered by ${name}` })),
    ...chained.map(({ name }) => {
      const to = standIns(after, name);
      return { filter: `${finding('target', name)} ${FAILED}`, would: to.length > 0 ? `failed at ${name}, and would have gone on to ${to.join(', then ')}` : `failed at ${name}, and would have ended there` };
    }),
  ];
}

/** Empty: nothing on record tells. */
export const meetings = ({ of, before, after }: Pick<Change, 'of' | 'before' | 'after'>): Meeting[] => (of === 'fields' ? ofFields(before, after) : ofTargets(before, after));

/** The limit that Cloudflare's rate limit is, where a change of a gateway's fields sets another one. */
export function rateOf({ of, before, after }: Pick<Change, 'of' | 'before' | 'after'>, fields: object): Limit | null {
  if (of !== 'fields') return null;
  const all: Json = { ...fields, ...after };
  const [limit, interval] = [Number(all.rate_limiting_limit ?? 0), Number(all.rate_limiting_interval ?? 0)];
  const changed = ['rate_limiting_limit', 'rate_limiting_interval', 'rate_limiting_technique'].some((name) => name in after && isFrom(before, after, name));
  if (!changed || limit <= 0 || interval <= 0) return null;
  return { id: 'rate-limit', unit: 'requests', limit, window: `${interval}s`, technique: all.rate_limiting_technique === 'sliding' ? 'sliding' : 'fixed' };
}
