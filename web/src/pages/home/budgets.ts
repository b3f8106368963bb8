/** Limits that are nearly drawn, and what a month comes to if it goes on so. */

import * as api from '../../api';
import { filterOf, dimension, amount, around, measure, type Limit } from '../control/limits';

export interface NearlyDrawn {
  gateway: string;
  limit: string;
  /** Whose: the values that it is split by. */
  whose: string;
  /** Of 1. */
  share: number;
}

/** From this share on somebody should know. */
const NEAR = 0.8;
/** So many gateways, and so many limits of them, are looked at: a page asks for no more. */
const MOST = 12;

const limitsOf = ({ limits }: api.OwnSettings): Limit[] => (Array.isArray(limits) ? (limits as Limit[]) : []);

/** By records, as the page of limits has it. */
export async function nearlyDrawn(account: string, gateways: api.Gateway[], now: number, signal: AbortSignal): Promise<NearlyDrawn[]> {
  const looked = gateways.slice(0, MOST);
  const settings = await Promise.all(looked.map((one) => api.ownSettings(account, one.id, signal).then(({ result }) => result)));
  const limits = looked.flatMap((one, index) => limitsOf(settings[index] ?? {}).map((limit) => ({ gateway: one.id, limit })));
  const found = await Promise.all(limits.slice(0, MOST).map(async ({ gateway, limit }): Promise<NearlyDrawn[]> => {
    const drawn = measure(limit);
    const window = around(limit, now);
    if (!drawn || limit.shadow || window.end <= window.start) return [];
    const answer = await api.aggregate({
      account, gateway, filter: filterOf(limit), since: new Date(window.start).toISOString(), until: new Date(Math.max(now, window.start + 1)).toISOString(),
      by: (limit.by ?? []).map(dimension), every: null, measures: [drawn], top: 1, order: 0,
    }, signal);
    const first = limit.by?.length ? answer.groups[0] : answer.total;
    const share = (first?.values[0] ?? 0) / Math.max(1, amount(limit));
    return first && share >= NEAR ? [{ gateway, limit: limit.id, whose: first.key.map((value) => value ?? 'none').join(', '), share }] : [];
  }));
  return found.flat().toSorted((a, b) => b.share - a.share);
}

/** The calendar month (UTC) that a moment lies in, and how much of it has passed, of 1. */
export function monthOf(now: number): { start: number; passed: number } {
  const date = new Date(now);
  const [start, end] = [0, 1].map((more) => Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + more, 1)) as [number, number];
  return { start, passed: (now - start) / (end - start) };
}
