/**
 * A question whose answer is shown: asked anew when what it reads changes. The question before is
 * given up, its answer stays in view until the next one is there.
 */

import { ApiError } from '../api';

export class Asked<T> {
  answer = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  /** A question is under way. */
  busy = $state(false);
  #again = $state(0);

  /** `ask` is called in an effect: what it reads before its first `await` is what it depends on. */
  constructor(ask: (signal: AbortSignal) => Promise<T> | null) {
    $effect(() => {
      void this.#again;
      const abort = new AbortController();
      const answer = ask(abort.signal);
      if (!answer) return;
      this.busy = true;
      answer.then(
        (value) => {
          if (abort.signal.aborted) return;
          this.answer = value;
          this.error = null;
          this.busy = false;
        },
        (error: unknown) => {
          if (abort.signal.aborted) return;
          this.error = error instanceof ApiError ? error : new ApiError(0, null, String(error));
          this.busy = false;
        },
      );
      return () => abort.abort();
    });
  }

  again() {
    this.#again += 1;
  }
}
