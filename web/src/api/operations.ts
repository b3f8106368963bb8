/** Questions about what the account does besides serving: its trail, exports, alerts, room, and jobs. */

import { call, type Reply } from './client';
import { account, own } from './paths';
import type { AlertView, JobView, NewRerating, Options, RerateJob, TestView, TrailEntry } from './described';
import type { Storage } from './types';

export interface TrailQuery {
  who: string;
  action: string;
  kind: string;
  /** The `next` of the page before; empty: the newest. */
  after: string;
  limit: number;
}

/** What was done, the newest first. */
export const trail = (accountId: string, query: TrailQuery, signal?: AbortSignal): Promise<Reply<TrailEntry[]>> =>
  call(`${own(accountId)}/audit`, { query: { ...query }, signal });

const jobsPath = (accountId: string) => `${account(accountId)}/logpush/jobs`;

export async function exportJobs(accountId: string, signal?: AbortSignal): Promise<JobView[]> {
  return (await call<JobView[]>(jobsPath(accountId), { signal })).result;
}

export type NewJob = Options & { destination_conf: string };

export async function makeJob(accountId: string, job: NewJob): Promise<JobView> {
  return (await call<JobView>(jobsPath(accountId), { method: 'POST', body: job })).result;
}

/** Changes the members that are named, and no others. */
export async function changeJob(accountId: string, id: number, job: Options): Promise<JobView> {
  return (await call<JobView>(`${jobsPath(accountId)}/${id}`, { method: 'PUT', body: job })).result;
}

export async function dropJob(accountId: string, id: number): Promise<void> {
  await call(`${jobsPath(accountId)}/${id}`, { method: 'DELETE' });
}

export interface TestWrite {
  valid: boolean;
  /** Why not; empty where it could. */
  message: string;
}

/** Writes a small object there. */
export async function testDestination(accountId: string, destination: string): Promise<TestWrite> {
  const path = `${account(accountId)}/logpush/validate/destination`;
  return (await call<TestWrite>(path, { method: 'POST', body: { destination_conf: destination } })).result;
}

/** Alerts, and how each stands. */
export async function alerts(accountId: string, signal?: AbortSignal): Promise<AlertView[]> {
  return (await call<AlertView[]>(`${own(accountId)}/alerts`, { query: { per_page: 100 }, signal })).result;
}

const alertPath = (accountId: string, { gateway, id }: Pick<AlertView, 'gateway' | 'id'>) =>
  `${own(accountId)}/gateways/${encodeURIComponent(gateway)}/alerts/${encodeURIComponent(id)}`;

/** Sends a message to its webhook, marked as a test. */
export async function testAlert(accountId: string, alert: AlertView): Promise<TestView> {
  return (await call<TestView>(`${alertPath(accountId, alert)}/test`, { method: 'POST', body: {} })).result;
}

/** Keeps it quiet for so many seconds; 0: lets it speak again. */
export async function muteAlert(accountId: string, alert: AlertView, seconds: number): Promise<AlertView> {
  const ask = seconds > 0 ? ({ method: 'POST', body: { for_s: seconds } } as const) : ({ method: 'DELETE' } as const);
  return (await call<AlertView>(`${alertPath(accountId, alert)}/mute`, ask)).result;
}

/** What records take on the disk, of the whole store. */
export async function storage(accountId: string, signal?: AbortSignal): Promise<Storage> {
  return (await call<Storage>(`${own(accountId)}/storage`, { signal })).result;
}

const reratePath = (accountId: string) => `${own(accountId)}/prices/rerate`;

/** Begins to price records again by what prices are now. */
export async function rerate(accountId: string, asked: NewRerating): Promise<RerateJob> {
  return (await call<RerateJob>(reratePath(accountId), { method: 'POST', body: asked })).result;
}

export async function rerating(accountId: string, id: string, signal?: AbortSignal): Promise<RerateJob> {
  return (await call<RerateJob>(`${reratePath(accountId)}/${id}`, { signal })).result;
}

export async function endRerating(accountId: string, id: string): Promise<RerateJob> {
  return (await call<RerateJob>(`${reratePath(accountId)}/${id}`, { method: 'DELETE' })).result;
}
