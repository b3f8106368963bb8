/**
 * The filter language of records, as far as a page needs it: where its terms begin and end, and how
 * one is added, taken out or spelled. What a filter means only the server knows; it also explains
 * what is wrong with one.
 */

export interface Term {
  /** Place in the text; the end is not in it. */
  start: number;
  end: number;
  text: string;
  negated: boolean;
  /** Null: a text to be found in bodies. */
  field: string | null;
  /** Behind the operator, as it is spelled. */
  value: string;
}

export type Kind = 'text' | 'number' | 'duration' | 'money' | 'status' | 'time' | 'flag';

export interface Field {
  name: string;
  kind: Kind;
  help: string;
  /** Values that there are, where they are few. */
  values?: string[];
  /** Name for grouping, where the values can be asked for. */
  dimension?: string;
}

export const FIELDS: Field[] = [
  { name: 'status', kind: 'status', help: 'error, ok, 429, 4xx, 400..499', values: ['error', 'ok', '4xx', '5xx', '429'], dimension: 'status' },
  { name: 'model', kind: 'text', help: 'asked for or served; * stands for anything', dimension: 'model' },
  { name: 'provider', kind: 'text', help: 'slug of the provider', dimension: 'provider' },
  { name: 'target', kind: 'text', help: 'target that answered', dimension: 'target' },
  { name: 'cost', kind: 'money', help: '>0.01 dollars, or unpriced, no_usage, estimated', values: ['>0.01', 'unpriced', 'no_usage', 'estimated', 'custom', 'free'] },
  { name: 'duration', kind: 'duration', help: '>2s, 100ms..1s', values: ['>1s', '>5s', '>30s'] },
  { name: 'ttft', kind: 'duration', help: 'time to first token', values: ['>500ms', '>1s', '>2s'] },
  { name: 'ttfb', kind: 'duration', help: 'time to first byte', values: ['>500ms', '>1s', '>2s'] },
  { name: 'cache', kind: 'text', help: 'what the cache did', values: ['hit', 'miss', 'stale', 'bypass'], dimension: 'cache' },
  { name: 'token', kind: 'text', help: 'name of the gateway token', dimension: 'token' },
  { name: 'operation', kind: 'text', help: 'kind of call', dimension: 'operation' },
  { name: 'outcome', kind: 'text', help: 'how it ended', values: ['answered', 'refused', 'failed', 'client_left', 'upstream_cut', 'stopped', 'overrun', 'panicked'], dimension: 'outcome' },
  { name: 'code', kind: 'text', help: 'code of the failure', dimension: 'code' },
  { name: 'blame', kind: 'text', help: 'who is to blame', values: ['client', 'gateway', 'upstream'], dimension: 'blame' },
  { name: 'attempts', kind: 'number', help: 'sends to a provider', values: ['>1', '0', '1'] },
  { name: 'stream', kind: 'flag', help: 'whether the answer was a stream', values: ['true', 'false'] },
  { name: 'tokens', kind: 'number', help: 'all tokens', values: ['>1000', '>10000'] },
  { name: 'tokens_in', kind: 'number', help: 'tokens of input', values: ['>1000', '>10000'] },
  { name: 'tokens_out', kind: 'number', help: 'tokens of output', values: ['>500', '>2000'] },
  { name: 'gateway', kind: 'text', help: 'id of the gateway', dimension: 'gateway' },
  { name: 'account', kind: 'text', help: 'account of the gateway', dimension: 'account' },
  { name: 'resource', kind: 'text', help: 'Azure resource or region', dimension: 'resource' },
  { name: 'deployment', kind: 'text', help: 'Azure deployment', dimension: 'deployment' },
  { name: 'method', kind: 'text', help: 'HTTP method', dimension: 'method' },
  { name: 'path', kind: 'text', help: 'behind the provider', dimension: 'path' },
  { name: 'user_agent', kind: 'text', help: 'of the client', dimension: 'user_agent' },
  { name: 'id', kind: 'text', help: 'of the request' },
  { name: 'event', kind: 'text', help: 'id that the client gave it' },
  { name: 'time', kind: 'time', help: '>-1h, or a day', values: ['>-15m', '>-1h'] },
];

/** Names of Cloudflare's filters, and a term of ours for each of their values. */
const ALIASES: Record<string, (value: string) => string | null> = {
  success: (value) => flag(value, 'status:ok', 'status:error'),
  cached: (value) => flag(value, 'cache:hit,stale', '-cache:hit,stale'),
  event_id: (value) => `event:${value}`,
  request_type: (value) => `operation:${value}`,
  created_at: (value) => `time:${value}`,
  status_code: (value) => `status:${value}`,
  authentication: (value) => flag(value, 'token:*', '-token:*'),
  'metadata.key': (value) => `meta.${value}:*`,
};

function flag(value: string, yes: string, no: string): string | null {
  return value === 'true' ? yes : value === 'false' ? no : null;
}

/** The terms of a filter, in their order. A quote that is not closed ends with the text. */
export function terms(text: string): Term[] {
  const found: Term[] = [];
  for (let at = 0; at < text.length; ) {
    if (/\s/.test(text.charAt(at))) at += 1;
    else {
      const end = endOf(text, at);
      found.push(term(text, at, end));
      at = end;
    }
  }
  return found;
}

function endOf(text: string, start: number): number {
  let quoted = false;
  for (let at = start; at < text.length; at += 1) {
    const sign = text.charAt(at);
    if (sign === '\\' && quoted) at += 1;
    else if (sign === '"') quoted = !quoted;
    else if (!quoted && /\s/.test(sign)) return at;
  }
  return text.length;
}

const NAMED = /^([A-Za-z_][\w]*(?:\.(?:"(?:[^"\\]|\\.)*"|[^\s:=!<>"])+)?)(!=|[:=])/;

function term(text: string, start: number, end: number): Term {
  const whole = text.slice(start, end);
  const minus = /^-\S/.test(whole);
  const rest = minus ? whole.slice(1) : whole;
  const named = NAMED.exec(rest);
  const [head = '', field = null, operator = ''] = named ?? [];
  const negated = minus !== (operator === '!=');
  return { start, end, text: whole, negated, field, value: rest.slice(head.length) };
}

/** A value as the language takes it: in quotes if it would be read as something else. */
export function quoted(value: string): string {
  return value !== '' && /^[^\s",*<>()\\]+$/.test(value) && !value.includes('..')
    ? value
    : `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** The term that finds a value of a dimension; null has no value. */
export function finding(field: string, value: string | null): string {
  return value === null ? `-${field}:*` : `${field}:${quoted(value)}`;
}

/** Our spelling of a term of Cloudflare's; the term itself where there is none. */
export function translated(text: string): string {
  const [one] = terms(text);
  const other = one?.field && ALIASES[one.field]?.(one.value);
  if (!one || !other) return text;
  if (!one.negated) return other;
  return other.startsWith('-') ? other.slice(1) : `-${other}`;
}

/** With a term more; it takes the place of one that says the opposite. */
export function added(filter: string, text: string): string {
  const opposite = text.startsWith('-') ? text.slice(1) : `-${text}`;
  const kept = terms(filter).map((one) => one.text).filter((one) => one !== opposite);
  return (kept.includes(text) ? kept : [...kept, text]).join(' ');
}

/** Without one of its terms. */
export function removed(filter: string, index: number): string {
  return terms(filter).flatMap((one, at) => (at === index ? [] : [one.text])).join(' ');
}

/** What is wrong with a term that can be told without the server; null if nothing is. */
export function problem(text: string): string | null {
  const [one] = terms(text);
  if (!one) return null;
  if ((text.match(/(?<!\\)"/g) ?? []).length % 2 === 1) return 'The quote is not closed.';
  if (one.field === null) return null;
  const isKnown = /^meta(data)?\../.test(one.field) || FIELDS.some((field) => field.name === one.field);
  if (!isKnown && one.field !== 'op') return `There is no field ${one.field}. Put a text to search for in quotes.`;
  return one.value === '' ? `${one.field} needs a value.` : null;
}
