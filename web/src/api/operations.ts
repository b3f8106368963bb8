/** Questions about what the account does besides serving: its trail, and its exports. */

import { call, type Reply } from './client';
import { account, own } from './paths';
import type { JobView, Options, TrailEntry } from './described';

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
