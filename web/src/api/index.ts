/** Every question that the dashboard asks, as a function. */

import { address, body, call, useCsrf } from './client';
import { account, own } from './paths';
import type {
  AggregateQuery,
  Answer,
  Exchange,
  Link,
  ListQuery,
  Listing,
  Row,
  SavedView,
  Scope,
  Session,
  TargetView,
} from './types';

export { ApiError, onSignedOut } from './client';
export * from './control';
export * from './operations';
export type * from './types';

function scoped(scope: Scope) {
  const { gateway, filter, since, until } = scope;
  return { gateway, filter, since, until };
}

/** Who is signed in. @throws ApiError of status 401 where nobody is */
export async function session(): Promise<Session> {
  const { result } = await call<Session>('/isango/session');
  useCsrf(result.csrf);
  return result;
}

/** Whether somebody has to be made the first owner before anybody can sign in, and the provider by which people do, too. */
export async function lookAtDoor(): Promise<{ needed: boolean; provider?: string | null }> {
  return (await call<{ needed: boolean; provider?: string | null }>('/isango/setup')).result;
}

export async function signIn(name: string, password: string): Promise<Session> {
  await call('/isango/session', { method: 'POST', body: { name, password } });
  return session();
}

/** Makes the first owner; `code` is that of the link that the first start printed. */
export async function setUp(code: string, name: string, password: string): Promise<Session> {
  await call('/isango/setup', { method: 'POST', body: { code, name, password } });
  return session();
}

/** What a link is for that lets somebody in once. */
export async function lookAtLink(code: string): Promise<Link> {
  return (await call<Link>('/isango/link/look', { method: 'POST', body: { code } })).result;
}

/** Follows it: an invitation, or one to choose another password. */
export async function followLink(code: string, password: string): Promise<Session> {
  await call('/isango/link', { method: 'POST', body: { code, password } });
  return session();
}

/** Another password; every other session of whoever asks is over. */
export async function changePassword(current: string, password: string): Promise<Session> {
  await call('/isango/password', { method: 'PUT', body: { current, password } });
  return session();
}

/** Every session of whoever asks is over, this one among them. */
export async function signOutEverywhere(): Promise<void> {
  await call('/isango/sessions', { method: 'DELETE' });
}

export async function signOut(): Promise<void> {
  await call('/isango/session', { method: 'DELETE' });
}

export async function list(query: ListQuery, signal?: AbortSignal): Promise<Listing> {
  const { sort, ascending, after, limit } = query;
  const { result, info } = await call<Row[]>(`${own(query.account)}/requests`, {
    query: { ...scoped(query), sort, ascending: ascending || null, after, limit },
    signal,
  });
  return {
    rows: result,
    next: typeof info.next === 'string' ? info.next : null,
    complete: info.is_complete !== false,
  };
}

export async function aggregate(query: AggregateQuery, signal?: AbortSignal): Promise<Answer> {
  const { by, every, measures, top, order } = query;
  const { result } = await call<Answer>(`${own(query.account)}/analytics`, {
    method: 'POST',
    body: { ...scoped(query), by, every, measures, top, order },
    signal,
  });
  return result;
}

/** One record, without its bodies. */
export async function exchange(accountId: string, id: string, signal?: AbortSignal): Promise<Exchange> {
  const path = `${own(accountId)}/requests/${encodeURIComponent(id)}`;
  return (await call<Exchange>(path, { signal })).result;
}

/** A stored body as text; null where none is stored. */
export async function storedBody(
  of: { account: string; gateway: string; id: string },
  side: 'request' | 'response',
  signal?: AbortSignal,
): Promise<string | null> {
  const gateway = `${account(of.account)}/ai-gateway/gateways/${encodeURIComponent(of.gateway)}`;
  return body(`${gateway}/logs/${encodeURIComponent(of.id)}/${side}`, signal);
}

export async function targets(accountId: string, signal?: AbortSignal): Promise<TargetView[]> {
  return (await call<TargetView[]>(`${own(accountId)}/targets`, { query: { per_page: 100 }, signal })).result;
}

export async function views(accountId: string): Promise<SavedView[]> {
  return (await call<SavedView[]>(`${own(accountId)}/views`)).result;
}

export async function saveView(accountId: string, name: string, query: string): Promise<SavedView> {
  const ask = { method: 'POST', body: { name, query } } as const;
  return (await call<SavedView>(`${own(accountId)}/views`, ask)).result;
}

export async function dropView(accountId: string, id: string): Promise<void> {
  await call(`${own(accountId)}/views/${encodeURIComponent(id)}`, { method: 'DELETE' });
}

/** Where the records of a scope can be downloaded. */
export function exportAddress(scope: Scope, format: 'csv' | 'jsonl', bodies: boolean): string {
  return address(`${own(scope.account)}/requests/export`, {
    ...scoped(scope),
    format,
    bodies: bodies || null,
  });
}

/** What a live tail tells. */
export interface TailListener {
  row(row: Row): void;
  /** Of every so many rows one is sent. */
  sampled(oneIn: number): void;
  /** Whether the connection stands; the browser opens it again by itself. */
  connected(is: boolean): void;
}

/** New records as they are stored, until the returned function is called. */
export function tail(scope: Omit<Scope, 'since' | 'until'>, listener: TailListener): () => void {
  const { gateway, filter } = scope;
  const source = new EventSource(address(`${own(scope.account)}/tail`, { gateway, filter }));
  source.addEventListener('open', () => listener.connected(true));
  source.addEventListener('error', () => listener.connected(false));
  source.addEventListener('record', (event: MessageEvent<string>) => {
    listener.row(JSON.parse(event.data) as Row);
  });
  source.addEventListener('sampled', (event: MessageEvent<string>) => {
    listener.sampled(Number(event.data));
  });
  return () => source.close();
}
