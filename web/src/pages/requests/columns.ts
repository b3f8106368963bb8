/** What the table of requests can show. */

import type { Row } from '../../api';
import { told, tokensIn, tokensOut } from '../../cost';
import { count, duration, moment } from '../../format';
import type { Column } from '../../parts/table';

const orNone = (value: string | null) => value ?? '–';
const time = (us: number | null | undefined) => (us == null ? '–' : duration(us));

const FIXED: Column<Row>[] = [
  { id: 'time', name: 'Time', width: 126, sort: 'time', text: (row) => moment(new Date(row.created_at), new Date()) },
  { id: 'status', name: 'Status', width: 76, sort: 'status', text: (row) => String(row.status ?? row.outcome) },
  { id: 'model', name: 'Model', width: 196, sort: 'model', text: (row) => orNone(row.model ?? row.model_requested) },
  { id: 'provider', name: 'Provider', width: 128, sort: 'provider', text: (row) => orNone(row.provider) },
  { id: 'target', name: 'Target', width: 130, sort: 'target', text: (row) => orNone(row.target) },
  { id: 'gateway', name: 'Gateway', width: 108, sort: 'gateway', text: (row) => row.gateway },
  { id: 'token', name: 'Token', width: 122, sort: 'token', text: (row) => orNone(row.token) },
  { id: 'in', name: 'Tokens in', width: 86, number: true, sort: 'tokens_in', text: (row) => (row.usage ? count(tokensIn(row.usage)) : '–') },
  { id: 'out', name: 'Tokens out', width: 86, number: true, sort: 'tokens_out', text: (row) => (row.usage ? count(tokensOut(row.usage)) : '–') },
  { id: 'cost', name: 'Cost', width: 92, number: true, sort: 'cost', text: (row) => told(row.cost, row.cache).text },
  { id: 'ttft', name: 'First token', width: 92, number: true, sort: 'ttft', text: (row) => time(row.timing.ttft_us) },
  { id: 'ttfb', name: 'First byte', width: 92, number: true, sort: 'ttfb', text: (row) => time(row.timing.ttfb_us) },
  { id: 'duration', name: 'Total', width: 88, number: true, sort: 'duration', text: (row) => duration(row.timing.total_us) },
  { id: 'overhead', name: 'Gateway time', width: 100, number: true, sort: 'overhead', text: (row) => duration(row.timing.overhead_us) },
  { id: 'speed', name: 'Tokens/s', width: 84, number: true, text: speed },
  { id: 'attempts', name: 'Attempts', width: 80, number: true, sort: 'attempts', text: (row) => String(row.attempts) },
  { id: 'cache', name: 'Cache', width: 64, sort: 'cache', text: (row) => orNone(row.cache) },
  { id: 'operation', name: 'Kind', width: 102, sort: 'operation', text: (row) => row.operation },
  { id: 'error', name: 'Failure', width: 112, sort: 'code', text: (row) => row.error ?? '' },
  { id: 'limit', name: 'Limit', width: 150, sort: 'limit', text: (row) => orNone(row.limit) },
  { id: 'finish', name: 'Finish', width: 86, sort: 'finish_reason', text: (row) => orNone(row.finish_reason) },
  { id: 'deployment', name: 'Deployment', width: 112, sort: 'deployment', text: (row) => orNone(row.deployment) },
  { id: 'path', name: 'Path', width: 260, sort: 'path', text: (row) => row.path },
  { id: 'agent', name: 'User agent', width: 170, sort: 'user_agent', text: (row) => orNone(row.user_agent) },
  { id: 'id', name: 'Id', width: 292, text: (row) => row.id },
];

export const USUAL = ['time', 'status', 'model', 'target', 'in', 'out', 'cost', 'ttft', 'duration', 'cache', 'meta.tenantId', 'error'];

/** Tokens of output per second of the answer's own time. */
function speed(row: Row): string {
  const from = row.timing.ttft_us;
  const out = row.usage && tokensOut(row.usage);
  const us = from == null ? 0 : row.timing.total_us - from;
  return out && us > 50_000 && row.cache !== 'hit' ? count((out * 1e6) / us) : '–';
}

/** The columns, and one for each key of metadata that was seen or is chosen. */
export function columns(keys: readonly string[]): Column<Row>[] {
  const meta = keys.map((key): Column<Row> => ({
    id: `meta.${key}`,
    name: key,
    width: 104,
    sort: `meta.${key}`,
    text: (row) => (Object.hasOwn(row.metadata, key) ? String(row.metadata[key]) : '–'),
  }));
  return [...FIXED, ...meta];
}

/** The term that finds the rows that have the same there; null where that means nothing. */
export function sameAs(row: Row, column: string): { field: string; value: string | null } | null {
  const of = (field: string, value: string | null) => ({ field, value });
  switch (column) {
    case 'status':
      return row.status === null ? of('outcome', row.outcome) : of('status', String(row.status));
    case 'model':
      return of('model', row.model ?? row.model_requested);
    case 'provider':
    case 'target':
    case 'gateway':
    case 'token':
    case 'cache':
    case 'operation':
    case 'deployment':
    case 'path':
      return of(column, row[column]);
    case 'error':
      return of('code', row.error);
    case 'agent':
      return of('user_agent', row.user_agent);
    case 'id':
      return of('id', row.id);
  }
  if (!column.startsWith('meta.')) return null;
  const value = row.metadata[column.slice('meta.'.length)];
  return of(column, value === undefined ? null : String(value));
}
