/**
 * A list that is read page by page behind a cursor. Pages far from view are given up and asked for
 * again when they come back, so that a long way down costs no more memory than a short one.
 */

import { ApiError } from '../api';

export interface PageOf<R> {
  rows: R[];
  next: string | null;
}

type Fetch<R> = (after: string | null, signal: AbortSignal) => Promise<PageOf<R>>;

/** Pages that are kept on each side of the one in view. */
const KEPT = 12;

export class Pages<R> {
  /** Rows that are known to be there; their pages may have been given up. */
  count = $state(0);
  done = $state(false);
  busy = $state(false);
  error = $state.raw<ApiError | null>(null);
  /** Changes whenever a row may have. */
  version = $state(0);
  #pages: (R[] | null)[] = [];
  /** Behind which row each page begins. */
  #after: (string | null)[] = [null];
  #asked = new Set<number>();
  #abort = new AbortController();

  constructor(
    readonly size: number,
    readonly fetch: Fetch<R>,
  ) {}

  row(index: number): R | null {
    void this.version;
    return this.#pages[Math.floor(index / this.size)]?.[index % this.size] ?? null;
  }

  /** Sees to it that these rows come, and that no others stay for long. */
  show(from: number, to: number) {
    const first = Math.floor(from / this.size);
    const last = Math.floor(Math.max(from, to - 1) / this.size);
    for (let page = first; page <= last; page += 1) if (!this.#pages[page]) void this.#load(page);
    // The next page is there before it is needed.
    if (to >= this.count - this.size / 2 && !this.done) void this.#load(this.#after.length - 1);
    this.#pages.forEach((rows, page) => {
      if (rows && (page < first - KEPT || page > last + KEPT)) this.#pages[page] = null;
    });
  }

  async #load(page: number) {
    const after = this.#after[page];
    if (after === undefined || this.#asked.has(page) || this.#pages[page]) return;
    if (this.done && page >= this.#pages.length) return;
    this.#asked.add(page);
    this.busy = true;
    const { signal } = this.#abort;
    try {
      const { rows, next } = await this.fetch(after, signal);
      if (signal.aborted) return;
      const isNew = page >= this.#pages.length;
      this.#pages[page] = rows;
      if (isNew) {
        this.count += rows.length;
        // A page that is not full ends the list, whatever its cursor says: rows are numbered.
        this.done = next === null || rows.length < this.size;
        if (!this.done) this.#after.push(next);
      }
      this.error = null;
      this.version += 1;
    } catch (error) {
      if (signal.aborted) return;
      this.error = error instanceof ApiError ? error : new ApiError(0, null, String(error));
    } finally {
      this.#asked.delete(page);
      this.busy = this.#asked.size > 0;
    }
  }

  close() {
    this.#abort.abort();
  }
}
