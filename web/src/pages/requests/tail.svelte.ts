/**
 * Requests as they happen. While the reader points at the list or has gone down in it, new ones wait
 * and are counted; the latest are kept, the rest is found when the list is loaded anew.
 */

import * as api from '../../api';

const MOST = 2_000;

export class Tail {
  rows = $state.raw<api.Row[]>([]);
  #held = $state.raw<api.Row[]>([]);
  #isHeld = false;
  #isAway = false;
  connected = $state(false);
  /** Of every so many rows one is shown; 1 is all of them. */
  oneIn = $state(1);
  /** Rows of this frame, so that a flood is drawn once per frame. */
  #fresh: api.Row[] = [];
  #frame = 0;

  get waiting(): number {
    return this.#held.length;
  }

  follow(of: Omit<api.Scope, 'since' | 'until'>): () => void {
    this.stop();
    const close = api.tail(of, {
      row: (row) => this.#take(row),
      sampled: (oneIn) => (this.oneIn = oneIn),
      connected: (is) => (this.connected = is),
    });
    return () => {
      close();
      this.stop();
    };
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#fresh = [];
    this.rows = [];
    this.#held = [];
    this.connected = false;
    this.oneIn = 1;
  }

  #take(row: api.Row) {
    this.#fresh.unshift(row);
    this.#fresh.length = Math.min(this.#fresh.length, MOST);
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#held = [...this.#fresh, ...this.#held].slice(0, MOST);
      this.#fresh = [];
      if (!this.#isHeld && !this.#isAway) this.release();
    });
  }

  release() {
    if (this.#held.length === 0) return;
    this.rows = [...this.#held, ...this.rows].slice(0, MOST);
    this.#held = [];
  }

  /** The pointer is on the list. */
  hold(is: boolean) {
    this.#isHeld = is;
    if (!is && !this.#isAway) this.release();
  }

  /** The list is scrolled down. */
  away(is: boolean) {
    this.#isAway = is;
    if (!is && !this.#isHeld) this.release();
  }
}
