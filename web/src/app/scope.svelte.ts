/** What every page asks about: the account and gateway, and the range of time. */

import * as api from '../api';
import { DEFAULT_RANGE, isLive, resolve, type Range } from '../time';
import { place } from './place.svelte';

/** How often a range that ends now moves on. */
const TICK_MS = 15_000;

class Who {
  session = $state.raw<api.Session | null>(null);
  gateways = $state.raw<api.Gateway[]>([]);

  account: string = $derived(place.get('gw').split('/')[0] || this.session?.accounts[0] || '');

  /** Null: all of the account's. */
  gateway: string | null = $derived(place.get('gw').split('/')[1] || null);
}

export const who = new Who();

class When {
  /** The moment that `now` stands for; moves on while a range that ends now is in view. */
  now = $state(Date.now());

  #from = $derived(place.get('from') || DEFAULT_RANGE.from);
  #to = $derived(place.get('to') || DEFAULT_RANGE.to);

  /** Another object only when an end of it is another one. */
  range: Range = $derived({ from: this.#from, to: this.#to });

  /** In milliseconds; a range that cannot be read is the default one. */
  span = $derived.by(() => {
    const span = resolve(this.range, this.now) ?? resolve(DEFAULT_RANGE, this.now);
    return span ?? { since: this.now - 3_600_000, until: this.now };
  });

  /** Whether the stretch before is shown beside it. */
  comparing = $derived(place.get('vs') === 'previous');

  constructor() {
    setInterval(() => {
      if (isLive(this.range) && document.visibilityState === 'visible') this.now = Date.now();
    }, TICK_MS);
  }

  refresh() {
    this.now = Date.now();
  }

  /** Looks at another range, as a new step in the history. */
  look(range: Range) {
    this.now = Date.now();
    place.set({ from: range.from, to: range.to === 'now' ? '' : range.to, before: '' });
  }

  /** Looks at the stretch between two moments, in milliseconds. */
  zoom(since: number, until: number) {
    const text = (at: number) => new Date(Math.round(at)).toISOString();
    this.look({ from: text(since), to: text(until) });
  }
}

export const when = new When();

/** The scope of the page, for a call. */
export function scope(filter: string, span = when.span): api.Scope {
  return {
    account: who.account,
    gateway: who.gateway,
    filter,
    since: new Date(span.since).toISOString(),
    until: new Date(span.until).toISOString(),
  };
}

/** The same for the stretch of equal length before. */
export function previous(filter: string, { since, until } = when.span): api.Scope {
  return scope(filter, { since: since - (until - since), until: since });
}
