/**
 * Changes of what is in force: each is looked at before it is made, made to the version that was
 * looked at and no other, and can be taken back as long as nobody else changed the same since.
 */

import * as api from '../api';

type Json = Record<string, unknown>;

export interface Change {
  account: string;
  gateway: string;
  /** Of the fields that Cloudflare has, or of the gateway's other settings. */
  of: 'fields' | 'settings';
  /** What will hold, in a sentence. */
  sentence: string;
  before: Json;
  after: Json;
  version: string | null;
}

/** The members that differ; of fields only those are sent. */
export function differing(before: Json, after: Json): Json {
  const named = Object.entries(after).filter(([name, value]) => spelled(value) !== spelled(before[name]));
  return Object.fromEntries(named);
}

/** As JSON whose members are in one order, so that a diff shows what differs and nothing else. */
export function spelled(value: unknown): string {
  return JSON.stringify(value, (_, one: unknown) => (isObject(one) ? Object.fromEntries(Object.entries(one).toSorted(([a], [b]) => (a < b ? -1 : 1))) : one), 2) ?? '';
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

async function send({ account, gateway, of, before, after, version }: Change) {
  return of === 'fields'
    ? api.changeGateway(account, gateway, differing(before, after), version)
    : api.changeSettings(account, gateway, after, version);
}

class Changes {
  /** The last one, which can be taken back. */
  last = $state.raw<Change | null>(null);
  /** What the server remarked on it. */
  remarks = $state.raw<string[]>([]);
  /** Counts changes, for who shows what they changed. */
  count = $state(0);

  /** @throws api.ApiError if it is refused, or somebody else was faster (412). */
  async apply(change: Change): Promise<void> {
    const { version, remarks } = await send(change);
    this.last = { ...change, version };
    this.remarks = remarks;
    this.count += 1;
  }

  /** Everything is as it was. @throws api.ApiError as `apply` does. */
  async undo(): Promise<void> {
    const { last } = this;
    if (!last) return;
    await send({ ...last, before: last.after, after: last.before });
    this.forget();
    this.count += 1;
  }

  forget() {
    this.last = null;
    this.remarks = [];
  }
}

export const changes = new Changes();
