// Filters, lists and aggregates over rows in memory: as much of the language as the tests need, by
// the definitions of the record store.

const SCALE = { us: 1, ms: 1e3, s: 1e6, m: 6e7, h: 3.6e9, d: 8.64e10, w: 6.048e11 };
const sum = (usage, names) => usage && names.reduce((total, name) => total + (usage[name] ?? 0), 0);
const tokensIn = (row) => sum(row.usage, ['input', 'cache_read', 'cache_write', 'cache_write_1h', 'audio_input', 'image_input']);
const tokensOut = (row) => sum(row.usage, ['output', 'reasoning', 'audio_output', 'image_output']);

export const isError = (row) => row.status >= 400 || !['answered', 'client_left'].includes(row.outcome);

const QUANTITIES = {
  cost: (row) => row.cost.nanousd,
  tokens: (row) => row.usage && tokensIn(row) + tokensOut(row),
  tokens_in: tokensIn,
  tokens_out: tokensOut,
  cache_read: (row) => row.usage && (row.usage.cache_read ?? 0),
  reasoning: (row) => row.usage && (row.usage.reasoning ?? 0),
  duration: (row) => row.timing.total_us,
  ttfb: (row) => row.timing.ttfb_us ?? null,
  ttft: (row) => row.timing.ttft_us ?? null,
  overhead: (row) => row.timing.overhead_us,
  attempts: (row) => row.attempts,
  saved_cost: (row) => row.saved?.nanousd ?? null,
  saved_time: (row) => row.saved?.us ?? null,
};

function dimension(name, row) {
  if (/^meta(data)?\./.test(name)) {
    const value = row.metadata[name.slice(name.indexOf('.') + 1)];
    return value === undefined ? null : String(value);
  }
  switch (name) {
    case 'status': return row.status === null ? null : String(row.status);
    case 'status_class': return row.status === null ? null : `${Math.floor(row.status / 100)}xx`;
    case 'result': return isError(row) ? 'error' : 'ok';
    case 'model': return row.model ?? row.model_requested;
    case 'cost_status': return row.cost.status;
    case 'code': return row.error;
    case 'stream': return String(row.stream);
    case 'cache': return row.cache ?? 'bypass';
    default: return row[name] ?? null;
  }
}

const FIELDS = ['id', 'event', 'account', 'gateway', 'provider', 'target', 'resource', 'model', 'deployment', 'operation', 'op', 'status', 'outcome', 'cache', 'blame', 'code', 'stream', 'cost', 'tokens', 'tokens_in', 'tokens_out', 'attempts', 'duration', 'ttft', 'ttfb', 'time', 'method', 'path', 'token', 'user_agent'];

/** A filter that cannot be read, in the words of the server. */
export class BadFilter extends Error {}

function glob(value) {
  const pieces = value.match(/"(?:[^"\\]|\\.)*"|[^"]+/g) ?? [];
  const source = pieces.map((piece) => piece.startsWith('"')
    ? piece.slice(1, -1).replace(/\\(["\\])/g, '$1').replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    : piece.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*'));
  return new RegExp(`^${source.join('')}$`, 'is');
}

function numbers(value, scale) {
  const number = (text) => {
    const found = /^(\d+(?:\.\d+)?)([a-z]*)$/.exec(text);
    const unit = scale === 'time' ? SCALE[found?.[2]] : found?.[2] === '' ? scale : undefined;
    if (!found || unit === undefined) throw new BadFilter(`\`${value}\` is no value here`);
    return Number(found[1]) * unit;
  };
  if (value.includes('..')) {
    const [from, to] = value.split('..');
    return (n) => n >= (from ? number(from) : 0) && n <= (to ? number(to) : Infinity);
  }
  const [, operator, rest] = /^(>=|<=|>|<|)(.*)$/.exec(value);
  const limit = number(rest);
  return (n) => operator === '>' ? n > limit : operator === '>=' ? n >= limit : operator === '<' ? n < limit : operator === '<=' ? n <= limit : n === limit;
}

function test(field, value, text) {
  if (field === null) {
    const needle = value.replace(/^"|"$/g, '').toLowerCase();
    return (row) => text(row).toLowerCase().includes(needle);
  }
  if (field === 'status' && value === 'error') return isError;
  if (field === 'status' && value === 'ok') return (row) => !isError(row);
  if (field === 'status' && /^\dxx$/.test(value)) return (row) => String(row.status).startsWith(value[0]);
  if (field === 'status') return ((in_) => (row) => row.status !== null && in_(row.status))(numbers(value, 1));
  if (field === 'cost' && /^[a-z_]+$/.test(value)) return (row) => row.cost.status === value;
  if (field in QUANTITIES) {
    const scale = field === 'cost' ? 1e9 : ['duration', 'ttfb', 'ttft'].includes(field) ? 'time' : 1;
    const matches = numbers(value, scale);
    return (row) => { const n = QUANTITIES[field](row); return n !== null && n !== undefined && matches(n); };
  }
  if (field === 'stream') return (row) => String(row.stream) === value;
  const pattern = glob(value);
  const name = { op: 'operation', event: 'event_id' }[field] ?? field;
  if (field === 'cache') return (row) => row.cache !== null && pattern.test(row.cache);
  if (field === 'model') return (row) => [row.model, row.model_requested].some((one) => one != null && pattern.test(one));
  return (row) => { const one = dimension(name, row); return one !== null && pattern.test(one); };
}

export function filter(source, text) {
  const tests = [];
  for (const [whole] of source.matchAll(/(?:"(?:[^"\\]|\\.)*"|[^\s"])+/g)) {
    const minus = /^-\S/.test(whole);
    const rest = minus ? whole.slice(1) : whole;
    const named = /^([A-Za-z_]\w*(?:\.[^\s:=!<>"]+)?)(!=|[:=])/.exec(rest);
    const field = named?.[1] ?? null;
    if (field && !FIELDS.includes(field) && !/^meta(data)?\./.test(field)) {
      throw new BadFilter(`there is no field \`${field}\`; fields are ${FIELDS.join(', ')}, meta.<key>`);
    }
    const value = named ? rest.slice(named[0].length) : rest;
    if (named && value === '') throw new BadFilter(`\`${field}\` needs a value, as in \`${field}:value\``);
    const any = (field === null ? [value] : value.match(/(?:"(?:[^"\\]|\\.)*"|[^,])+/g)).map((one) => test(field, one, text));
    const negated = minus !== (named?.[2] === '!=');
    tests.push((row) => any.some((one) => one(row)) !== negated);
  }
  return (row) => tests.every((one) => one(row));
}

function measure(name, rows) {
  const count = (which) => rows.filter(which).length;
  switch (name) {
    case 'count': return rows.length;
    case 'errors': return count(isError);
    case 'cached': return count((row) => ['hit', 'stale'].includes(row.cache));
    case 'unpriced': return count((row) => row.cost.nanousd === null);
    case 'estimated': return count((row) => row.cost.status === 'estimated');
  }
  const [kind, quantity] = name.split(':');
  const values = rows.map(QUANTITIES[quantity]).filter((n) => n !== null && n !== undefined);
  if (kind === 'known') return values.length;
  if (values.length === 0) return null;
  if (kind === 'sum') return values.reduce((a, b) => a + b, 0);
  if (kind === 'max') return values.reduce((a, b) => Math.max(a, b), 0);
  if (kind === 'min') return values.reduce((a, b) => Math.min(a, b), Infinity);
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(1, Math.ceil((Number(kind.slice(1)) / 100) * sorted.length)) - 1];
}

const gathered = (rows, key) => {
  const groups = new Map();
  for (const row of rows) {
    const name = key(row);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  return groups;
};

export function aggregate(rows, { by, every, measures, top, order }) {
  const values = (of) => measures.map((name) => measure(name, of));
  const group = (key, of) => ({
    key, values: values(of),
    points: every === null ? [] : [...gathered(of, (row) => Math.floor(Date.parse(row.created_at) / (every * 1e3)) * every * 1e3)]
      .sort(([a], [b]) => a - b).map(([start, part]) => ({ start: new Date(start).toISOString(), values: values(part) })),
  });
  const groups = by.length === 0 ? [] : [...gathered(rows, (row) => JSON.stringify(by.map((name) => dimension(name, row))))]
    .map(([key, of]) => ({ key: JSON.parse(key), of, rank: measure(measures[order] ?? 'count', of) ?? -1 }))
    .sort((a, b) => b.rank - a.rank);
  const kept = top === 0 ? groups : groups.slice(0, top);
  const rest = groups.slice(kept.length).flatMap((one) => one.of);
  return {
    groups: kept.map((one) => group(one.key, one.of)), other: rest.length > 0 ? group([], rest) : null,
    total: group([], rows), group_count: groups.length, is_approximate: false, is_complete: true,
  };
}

export function sorted(rows, name, ascending) {
  if (!name || name === 'time') return ascending ? rows.toReversed() : rows;
  const value = (row) => (QUANTITIES[name] ? QUANTITIES[name](row) : dimension(name, row)) ?? null;
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0) * (ascending ? 1 : -1);
  const none = (a, b) => (a === null ? 1 : b === null ? -1 : 0);
  return rows.toSorted((a, b) => { const [x, y] = [value(a), value(b)]; return x === null || y === null ? none(x, y) : compare(x, y); });
}
