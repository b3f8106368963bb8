/**
 * Where the reader is: the path and the query of the address, which hold the whole state of a view.
 * Who changes a view changes the address; who shows one reads it from here.
 */

/** Query names that go along from page to page. */
const SHARED = ['gw', 'from', 'to', 'vs'];

class Place {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));

  constructor() {
    addEventListener('popstate', () => this.#read());
  }

  #read() {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  get(name: string): string {
    return this.query.get(name) ?? '';
  }

  /** The address of another page, with what goes along. */
  href(path: string, query: Record<string, string> = {}): string {
    const next = new URLSearchParams();
    for (const name of SHARED) {
      const value = this.query.get(name);
      if (value !== null) next.set(name, value);
    }
    return spelled(path, assigned(next, query));
  }

  /** The address of this page with other values; an empty one is taken out. */
  with(query: Record<string, string>, path = this.path): string {
    return spelled(path, assigned(new URLSearchParams(this.query), query));
  }

  /** Goes there; `replace` leaves no step to go back to. */
  go(href: string, how: 'push' | 'replace' = 'push') {
    if (href === location.pathname + location.search + location.hash) return;
    if (how === 'push') history.pushState(null, '', href);
    else history.replaceState(null, '', href);
    this.#read();
  }

  /** Of some options the one that the address names; the first is the usual one. */
  chosen<O extends readonly [{ value: string }, ...{ value: string }[]]>(name: string, options: O): O[number] {
    return options.find((one) => one.value === this.get(name)) ?? options[0];
  }

  /** Names one of them; the usual one stands in no address. */
  choose(name: string, options: readonly { value: string }[], value: string) {
    this.set({ [name]: value === options[0]?.value ? '' : value }, 'replace');
  }

  set(query: Record<string, string>, how: 'push' | 'replace' = 'push') {
    this.go(this.with(query), how);
  }
}

function assigned(onto: URLSearchParams, query: Record<string, string>): URLSearchParams {
  for (const [name, value] of Object.entries(query)) {
    if (value === '') onto.delete(name);
    else onto.set(name, value);
  }
  return onto;
}

/** Colons, commas and slashes are legal in a query, and easier to read as they are. */
function spelled(path: string, query: URLSearchParams): string {
  const text = query.toString().replaceAll('%3A', ':').replaceAll('%2C', ',').replaceAll('%2F', '/');
  return path + (text && `?${text}`);
}

export const place = new Place();

/** Follows a click on a link of ours without loading the page anew. */
export function follow(event: MouseEvent) {
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!isPlain || event.defaultPrevented || !link) return;
  if (link.origin !== location.origin || link.target || link.hasAttribute('download')) return;
  event.preventDefault();
  place.go(link.pathname + link.search);
}
