/** Why a question was not answered from the cache, in words. */

import type { CacheUse } from '../../api';

export const FIELDS_OF_CACHE = [
  { id: 'scope', name: 'Scope', help: 'the cf-aig-cache-key, or what cache_scope found' },
  { id: 'model', name: 'Model', help: 'as it was asked for' },
  { id: 'key', name: 'Key of one answer', help: '64 hex digits, of its record' },
] as const;

export function explained(cache: CacheUse | undefined): string {
  if (!cache) return 'Its record does not tell.';
  const { reason, differs = [], nearest, fill } = cache;
  const why = reason ? `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.` : 'No equal question had been answered.';
  const near = nearest ? ` The nearest one differs in ${differs.join(', ') || 'nothing that its record tells'}.` : '';
  return `${why}${near}${fill ? ` The answer was ${fill}.` : ''}`;
}
