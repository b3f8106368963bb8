/** Questions about what is in force, and changes of it. */

import { call, passed, type Reply } from './client';
import { account, gateway as gatewayPath, own } from './paths';
import type {
  ChangeView,
  ConfigView,
  Gateway,
  HistoryOutcome,
  MadeLink,
  MadeToken,
  NewConfig,
  NewPrice,
  NewToken,
  OwnPrice,
  OwnSettings,
  PriceView,
  Purged,
  Restored,
  RevisionView,
  TokenView,
  UserView,
} from './types';

/** Most entries of a list that is asked for as a whole. */
const ALL = { per_page: 100 };

export async function gateways(accountId: string, signal?: AbortSignal): Promise<Gateway[]> {
  const path = `${account(accountId)}/ai-gateway/gateways`;
  return (await call<Gateway[]>(path, { query: ALL, signal })).result;
}

export const gateway = (accountId: string, id: string, signal?: AbortSignal): Promise<Reply<Gateway>> =>
  call(gatewayPath(accountId, id), { signal });

/** Fields that are left out get the contract's defaults, where it has any. */
export async function makeGateway(accountId: string, id: string): Promise<Gateway> {
  const body = { id, cache_invalidate_on_update: true, cache_ttl: 0, collect_logs: true, rate_limiting_interval: 0, rate_limiting_limit: 0 };
  return (await call<Gateway>(`${account(accountId)}/ai-gateway/gateways`, { method: 'POST', body })).result;
}

/** Changes the fields that are named, and no others. */
export const changeGateway = (accountId: string, id: string, fields: Partial<Gateway>, ifMatch: string | null): Promise<Reply<Gateway>> =>
  call(gatewayPath(accountId, id), { method: 'PUT', body: fields, ifMatch });

export async function dropGateway(accountId: string, id: string): Promise<void> {
  await call(gatewayPath(accountId, id), { method: 'DELETE' });
}

const settingsPath = (accountId: string, id: string) => `${own(accountId)}/gateways/${encodeURIComponent(id)}/settings`;

export const ownSettings = (accountId: string, id: string, signal?: AbortSignal): Promise<Reply<OwnSettings>> =>
  call(settingsPath(accountId, id), { signal });

/** All of them at once: what is left out has its default again. */
export const changeSettings = (accountId: string, id: string, settings: OwnSettings, ifMatch: string | null): Promise<Reply<OwnSettings>> =>
  call(settingsPath(accountId, id), { method: 'PUT', body: settings, ifMatch });

export async function tokens(accountId: string, signal?: AbortSignal): Promise<TokenView[]> {
  return (await call<TokenView[]>(`${own(accountId)}/tokens`, { query: ALL, signal })).result;
}

export async function makeToken(accountId: string, token: NewToken): Promise<MadeToken> {
  return (await call<MadeToken>(`${own(accountId)}/tokens`, { method: 'POST', body: token })).result;
}

const tokenPath = (accountId: string, name: string) => `${own(accountId)}/tokens/${encodeURIComponent(name)}`;

export async function rotateToken(accountId: string, name: string, graceSeconds: number): Promise<MadeToken> {
  const ask = { method: 'POST', body: { grace_s: graceSeconds } } as const;
  return (await call<MadeToken>(`${tokenPath(accountId, name)}/rotate`, ask)).result;
}

export async function revokeToken(accountId: string, name: string): Promise<TokenView> {
  return (await call<TokenView>(tokenPath(accountId, name), { method: 'DELETE' })).result;
}

const keysPath = (accountId: string, id: string) => `${gatewayPath(accountId, id)}/provider_configs`;

export async function providerKeys(accountId: string, id: string, signal?: AbortSignal): Promise<ConfigView[]> {
  return (await call<ConfigView[]>(keysPath(accountId, id), { query: ALL, signal })).result;
}

export async function storeKey(accountId: string, id: string, key: NewConfig): Promise<void> {
  await call(keysPath(accountId, id), { method: 'POST', body: key });
}

export async function replaceKey(accountId: string, id: string, key: string, secret: string): Promise<void> {
  await call(`${keysPath(accountId, id)}/${encodeURIComponent(key)}`, { method: 'PUT', body: { secret } });
}

export async function dropKey(accountId: string, id: string, key: string): Promise<void> {
  await call(`${keysPath(accountId, id)}/${encodeURIComponent(key)}`, { method: 'DELETE' });
}

export interface PurgeOf {
  gateway?: string;
  scope?: string;
  model?: string;
  key?: string;
  older_than_s?: number;
}

/** Removes kept answers, and says how many. */
export async function purge(accountId: string, of: PurgeOf): Promise<number> {
  return (await call<Purged>(`${own(accountId)}/cache/purge`, { method: 'POST', body: of })).result.purged;
}

export async function revisions(accountId: string, page: number, signal?: AbortSignal): Promise<Reply<RevisionView[]>> {
  return call(`${own(accountId)}/revisions`, { query: { page, per_page: 50 }, signal });
}

/** What restoring it would change now; empty: everything is as it was then. */
export async function sinceRevision(accountId: string, revision: number, signal?: AbortSignal): Promise<ChangeView[]> {
  return (await call<{ changes: ChangeView[] }>(`${own(accountId)}/revisions/${revision}/diff`, { signal })).result.changes;
}

/** Prices in force, by provider and model; both are parts of names. */
export const prices = (accountId: string, of: { provider: string; model: string; page: number }, signal?: AbortSignal): Promise<Reply<PriceView[]>> =>
  call(`${own(accountId)}/prices`, { query: { ...of, per_page: 50 }, signal });

/** What a limit would have said to the requests that a gateway had since then. */
export async function backTest(accountId: string, id: string, limit: Record<string, unknown>, since: string, signal?: AbortSignal): Promise<HistoryOutcome> {
  const path = `${own(accountId)}/gateways/${encodeURIComponent(id)}/backtest`;
  return (await call<HistoryOutcome>(path, { method: 'POST', body: { limit, since }, signal })).result;
}

/** Rows that the account has set itself. */
export async function ownPrices(accountId: string, signal?: AbortSignal): Promise<OwnPrice[]> {
  return (await call<OwnPrice[]>(`${own(accountId)}/prices/own`, { query: ALL, signal })).result;
}

export async function setPrice(accountId: string, price: NewPrice): Promise<OwnPrice> {
  return (await call<OwnPrice>(`${own(accountId)}/prices`, { method: 'POST', body: price })).result;
}

export async function dropPrice(accountId: string, id: string): Promise<void> {
  await call(`${own(accountId)}/prices/${encodeURIComponent(id)}`, { method: 'DELETE' });
}

/** Gateways become what they were then. */
export async function restore(accountId: string, revision: number): Promise<Restored> {
  return (await call<Restored>(`${own(accountId)}/revisions/${revision}/restore`, { method: 'POST', body: {} })).result;
}

const userPath = (accountId: string, name: string) => `${own(accountId)}/users/${encodeURIComponent(name)}`;

export async function users(accountId: string, signal?: AbortSignal): Promise<UserView[]> {
  return (await call<UserView[]>(`${own(accountId)}/users`, { query: ALL, signal })).result;
}

/** Whoever follows the link chooses a password, and is in. */
export async function invite(accountId: string, name: string, role: string): Promise<MadeLink> {
  return (await call<MadeLink>(`${own(accountId)}/users`, { method: 'POST', body: { name, role } })).result;
}

export async function changeRole(accountId: string, name: string, role: string): Promise<void> {
  await call(userPath(accountId, name), { method: 'PATCH', body: { role } });
}

export async function removeUser(accountId: string, name: string): Promise<void> {
  await call(userPath(accountId, name), { method: 'DELETE' });
}

/** A link with which a user chooses another password. */
export async function passwordLink(accountId: string, name: string): Promise<MadeLink> {
  return (await call<MadeLink>(`${userPath(accountId, name)}/link`, { method: 'POST', body: {} })).result;
}

export interface Trial {
  /** Behind the gateway: the provider, then its path and query. */
  path: string;
  headers: Record<string, string>;
  body: string;
}

/** Sends a request through a gateway; what it answers, whatever its status, comes as it comes. */
export const tried = (accountId: string, id: string, trial: Trial, signal: AbortSignal): Promise<Response> =>
  passed(`${own(accountId)}/gateways/${encodeURIComponent(id)}/try`, { method: 'POST', body: trial, signal });
