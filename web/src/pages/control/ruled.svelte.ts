/** The gateway whose rules are looked at, with all that is set there. */

import * as api from '../../api';
import { Asked } from '../../app/ask.svelte';
import { changes, type Change } from '../../app/changes.svelte';
import { place } from '../../app/place.svelte';
import { who } from '../../app/scope.svelte';
import type { Limit } from './limits';

type Json = Record<string, unknown>;

export class Ruled {
  /** The one that is chosen above, else the first that can be changed here. */
  id: string = $derived(who.gateway ?? (who.gateways.find((one) => one.managed_by === 'api') ?? who.gateways[0])?.id ?? 'default');

  #asked = new Asked(async (signal) => {
    void changes.count;
    const { id } = this;
    const [fields, settings] = await Promise.all([api.gateway(who.account, id, signal), api.ownSettings(who.account, id, signal)]);
    return { fields, settings };
  });

  get error(): api.ApiError | null {
    return this.#asked.error;
  }

  get fields(): api.Gateway | null {
    return this.#asked.answer?.fields.result ?? null;
  }

  get settings(): api.OwnSettings {
    return this.#asked.answer?.settings.result ?? {};
  }

  get ready(): boolean {
    return this.fields?.id === this.id;
  }

  /** Its settings stand in the configuration file, and are changed there. */
  get ofFile(): boolean {
    return this.fields?.managed_by === 'file';
  }

  get limits(): Limit[] {
    const { limits } = this.settings;
    return Array.isArray(limits) ? (limits as Limit[]) : [];
  }

  choose(id: string) {
    place.set({ gw: `${who.account}/${id}` });
  }

  /** A change of fields that Cloudflare has. */
  ofFields(sentence: string, after: Json): Change {
    const all = this.fields as unknown as Json;
    const before = Object.fromEntries(Object.keys(after).map((name) => [name, all[name] ?? null]));
    return { account: who.account, gateway: this.id, of: 'fields', sentence, before, after, version: this.#asked.answer?.fields.version ?? null };
  }

  /** A change of its other settings: `after` is all of them. */
  ofSettings(sentence: string, after: Json): Change {
    const version = this.#asked.answer?.settings.version ?? null;
    return { account: who.account, gateway: this.id, of: 'settings', sentence, before: this.settings, after, version };
  }

  /** With other members; an empty list is left out. */
  with(members: Json): Json {
    const all = Object.entries({ ...this.settings, ...members });
    return Object.fromEntries(all.filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0)));
  }
}
