/** One of the targets that a prompt is sent to: its answer as it comes, and what it came to. */

import * as api from '../../api';
import { read, said } from '../../conversation/read';
import { parsed } from '../requests/body';
import { delta, Events, formatHeaders, keyHeader, refused } from './formats';

/** How often its record is looked for, and how long each time. */
const LOOKS_MS = [60, 120, 250, 500, 1_000, 2_000];

export interface Common {
  account: string;
  gateway: string;
  /** Of the gateway; empty: none. */
  token: string;
  /** As JSON; empty: none. */
  metadata: string;
  anew: boolean;
}

export class Lane {
  path = $state('');
  model = $state('');
  /** Of the provider; empty: the gateway's own. Kept nowhere but here. */
  key = $state('');

  answer = $state('');
  status = $state<number | null>(null);
  failure = $state('');
  busy = $state(false);
  /** Until the first text, and until the end, in microseconds. */
  firstUs = $state<number | null>(null);
  totalUs = $state<number | null>(null);
  id = $state<string | null>(null);
  record = $state.raw<api.Exchange | null>(null);
  #abort: AbortController | null = null;

  constructor(path: string, model = '') {
    this.path = path;
    this.model = model;
  }

  stop() {
    this.#abort?.abort();
  }

  async run(body: string, common: Common) {
    this.stop();
    const abort = new AbortController();
    this.#abort = abort;
    Object.assign(this, { answer: '', status: null, failure: '', busy: true, firstUs: null, totalUs: null, id: null, record: null });
    const began = performance.now();
    const since = () => Math.round((performance.now() - began) * 1_000);
    try {
      const response = await api.tried(common.account, common.gateway, { path: this.path.trim(), headers: this.#headers(common), body }, abort.signal);
      this.status = response.status;
      this.id = response.headers.get('cf-aig-log-id');
      await this.#read(response, since);
      this.totalUs = since();
    } catch (error) {
      if (abort.signal.aborted) this.failure = 'Stopped here; what had come by then is on record.';
      else this.failure = error instanceof Error ? error.message : String(error);
    } finally {
      if (this.#abort === abort) this.busy = false;
    }
    if (this.id && this.#abort === abort) await this.#look(common.account, this.id);
  }

  #headers({ token, metadata, anew }: Common): Record<string, string> {
    return {
      ...formatHeaders(this.path),
      ...keyHeader(this.path, this.key),
      ...(token && { 'cf-aig-authorization': `Bearer ${token}` }),
      ...(metadata && { 'cf-aig-metadata': metadata }),
      ...(anew && { 'cf-aig-skip-cache': 'true' }),
    };
  }

  async #read(response: Response, since: () => number) {
    const isStream = /event-stream/.test(response.headers.get('content-type') ?? '');
    if (!isStream || !response.body) {
      const body = await response.text();
      const talk = response.ok ? read({}, parsed(body)) : null;
      if (response.ok) this.answer = talk ? said(talk) : body;
      else this.failure = refused(body);
      return;
    }
    const [events, decoder, reader] = [new Events(), new TextDecoder(), response.body.getReader()];
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const added = events.take(decoder.decode(piece.value, { stream: true })).map(delta).join('');
      if (added === '') continue;
      this.firstUs ??= since();
      this.answer += added;
    }
  }

  /** The record is made after the last byte: it may take a moment. */
  async #look(account: string, id: string) {
    for (const wait of LOOKS_MS) {
      await new Promise((done) => setTimeout(done, wait));
      if (this.id !== id) return;
      const found = await api.exchange(account, id).catch(() => null);
      if (found) {
        this.record = found;
        return;
      }
    }
  }
}
