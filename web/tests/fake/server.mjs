// A small stand-in for the management API, with the contract that `src/api` was written for: for
// developing the dashboard, and for its browser tests. It serves the built dashboard too, under the
// policy that the product serves it with.

import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Refused, control } from './control.mjs';
import { BadFilter, aggregate, filter, sorted } from './questions.mjs';
import { bodies, chunks, record, row, XSS } from './records.mjs';

const DIST = join(dirname(fileURLToPath(import.meta.url)), '../../dist');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html";

const PER_DAY = 6_000;

/** How many requests a day has fallen by the time of day. */
function moments(until, days, perDay) {
  const found = [];
  const step = (86_400_000 * days) / (perDay * days);
  for (let at = until - 86_400_000 * days; at < until; at += step) {
    const hour = new Date(at).getUTCHours();
    const busy = 0.35 + 0.65 * Math.max(0, Math.sin(((hour - 4) / 24) * 2 * Math.PI - 0.4));
    const wave = 0.8 + 0.2 * Math.sin(at / 97_000);
    if (((at / step) * 0.618034) % 1 < busy * wave) found.push(at + ((at * 7) % step));
  }
  return found;
}

let kept = null;

/** The records, newest first, and their rows; those of a usual day are made once. */
function made(records, many, now) {
  if (records === 'some' && kept && now - kept.now < 600_000) return { whole: [...kept.whole], rows: [...kept.rows] };
  const times = records === 'none' ? [] : many
    ? Array.from({ length: records }, (_, n) => now - (records - n) * (3_500_000 / records))
    : moments(now, 2, PER_DAY);
  const whole = times.map((at, index) => record(at, index)).reverse();
  const rows = whole.map(row);
  if (records === 'some') kept = { now, whole: [...whole], rows: [...rows] };
  return { whole, rows };
}

/** `records`: 'some' for a day of them, 'none', or a number for as many as that. */
export function fake({ records = 'some', signedIn = true, setup = false, now = Date.now() } = {}) {
  const many = typeof records === 'number';
  const { whole, rows } = made(records, many, now);
  const byId = new Map(whole.map((one) => [one.id, one]));
  const text = (one) => { const { request, response } = bodies(byId.get(one.id)); return JSON.stringify([request, response]); };
  const ruled = control();
  const state = { signedIn, setup, views: [], tails: new Set(), asked: [], next: whole.length, delay: 0 };

  const inScope = (query, account) => {
    const matches = filter(query.filter ?? '', text);
    const [since, until] = [query.since ?? '', query.until ?? '9'];
    return rows.filter((one) => one.account === account && (!query.gateway || one.gateway === query.gateway) && one.created_at >= since && one.created_at < until && matches(one));
  };

  const reply = (response, status, result, more = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(JSON.stringify({ success: status < 400, errors: [], messages: [], result, ...more }));
  };
  const refuse = (response, status, code, message) => reply(response, status, null, { success: false, errors: [{ code, message }] });

  function list(query, account, response) {
    const found = sorted(inScope(query, account), query.sort, query.ascending === 'true');
    const from = query.after ? found.findIndex((one) => one.id === query.after) + 1 : 0;
    const page = found.slice(from, from + Number(query.limit ?? 50));
    const next = from + page.length < found.length ? page.at(-1).id : null;
    reply(response, 200, page, { result_info: { next, is_complete: true } });
  }

  /** Every so manieth request of a gateway would have met a limit, whatever it says. */
  function backTest(account, gateway) {
    const under = rows.filter((one) => one.account === account && one.gateway === gateway);
    const met = under.filter((_, index) => index % 9 === 0).reverse();
    const bucket = (one) => [one.metadata.tenantId];
    const buckets = new Map();
    for (const { metadata } of met) buckets.set(metadata.tenantId, (buckets.get(metadata.tenantId) ?? 0) + 1);
    return {
      requests: under.length, under: under.length, exceeded: met.length, unknown: 3, is_complete: true, looked_until: null,
      first: met.slice(0, 100).map((one) => ({ id: one.id, at: one.created_at, bucket: bucket(one), before: 6_000_000, opens_at: one.created_at })),
      buckets: [...buckets].map(([key, exceeded]) => ({ bucket: [key], exceeded })).toSorted((a, b) => b.exceeded - a.exceeded).slice(0, 20),
    };
  }

  function tail(query, account, response) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(': here\n\n');
    const matches = filter(query.filter ?? '', text);
    const one = { send: (made) => made.account === account && (!query.gateway || made.gateway === query.gateway) && matches(made) && response.write(`event: record\ndata: ${JSON.stringify(made)}\n\n`) };
    state.tails.add(one);
    response.on('close', () => state.tails.delete(one));
  }

  /** As if an application had made a request now. */
  function happen(change = {}) {
    const made = { ...record(Date.now(), state.next++), ...change };
    byId.set(made.id, made);
    rows.unshift(row(made));
    for (const one of state.tails) one.send(rows[0]);
    return made;
  }

  /** What a gateway answers to a tried request: a stream of words, one at a time, and its record. */
  async function tried(gateway, { path, body, headers }, response) {
    const { model = '' } = JSON.parse(body);
    const says = { 'content-type': 'text/event-stream', 'isango-answered': 'gateway' };
    if (model === 'refused') {
      response.writeHead(429, { ...says, 'content-type': 'application/json' });
      return response.end(JSON.stringify({ error: { message: 'limit tenant-daily has no room' } }));
    }
    const made = happen({ gateway, provider: path.split('/')[0], model_requested: model || 'gpt-4o', metadata: JSON.parse(headers['cf-aig-metadata'] ?? '{}') });
    response.writeHead(200, { ...says, 'cf-aig-log-id': made.id });
    for (const word of ['Sawubona, ', 'this is ', `${model || 'the deployment'}. `, XSS]) {
      const event = /messages$/.test(path) ? { type: 'content_block_delta', delta: { type: 'text_delta', text: word } } : { choices: [{ delta: { content: word } }] };
      response.write(`data: ${JSON.stringify(event)}\n\n`);
      await new Promise((done) => setTimeout(done, 20));
    }
    response.end('data: [DONE]\n\n');
  }

  async function api(request, url, response) {
    const query = Object.fromEntries(url.searchParams);
    const path = url.pathname.slice('/client/v4'.length);
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = parts.length > 0 ? JSON.parse(Buffer.concat(parts)) : {};
    state.asked.push(`${request.method} ${path}`);
    if (state.delay) await new Promise((done) => setTimeout(done, state.delay));

    if (path === '/isango/setup' && request.method === 'GET') return reply(response, 200, { needed: state.setup });
    if (path === '/isango/setup') {
      if (body.code !== 'right') return refuse(response, 403, 7403, 'This code was used, or is not that of the link.');
      Object.assign(state, { setup: false, signedIn: true });
      return reply(response, 200, {});
    }
    if (path === '/isango/session' && request.method === 'POST') {
      if (body.name !== 'owner' || body.password !== 'correct horse battery') return refuse(response, 401, 10000, 'Authentication error');
      state.signedIn = true;
      return reply(response, 200, {});
    }
    if (path === '/isango/link/look') {
      if (body.code !== 'invited') return refuse(response, 403, 7403, 'This link was used, or has ended.');
      return reply(response, 200, { purpose: 'invitation', name: 'grace', account: 'local', role: 'analyst', expires_at: new Date(now).toISOString() });
    }
    if (path === '/isango/link') {
      state.signedIn = true;
      return reply(response, 200, {});
    }
    if (!state.signedIn) return refuse(response, 401, 10000, 'Authentication error');
    if (request.method !== 'GET' && request.headers['x-csrf-token'] !== 'c5rf') return refuse(response, 403, 7403, 'The CSRF token is missing.');
    if (path === '/isango/session' && request.method === 'DELETE') {
      state.signedIn = false;
      return reply(response, 200, {});
    }
    if (path === '/isango/session') {
      return reply(response, 200, { user: { name: 'owner', role: 'owner' }, csrf: 'c5rf', accounts: ['local'], data_url: 'http://127.0.0.1:8700', version: '0.1.0' });
    }
    if (path === '/isango/password') return body.current === 'correct horse battery' ? reply(response, 200, {}) : refuse(response, 403, 7403, 'The current password is another one.');
    if (path === '/isango/sessions') {
      state.signedIn = false;
      return reply(response, 200, {});
    }
    const [, , account, area, ...rest] = path.split('/');
    const here = rest.join('/');
    const trial = /^gateways\/([^/]+)\/try$/.exec(here);
    if (area === 'isango' && trial) return tried(trial[1], body, response);
    const tested = /^gateways\/([^/]+)\/backtest$/.exec(here);
    if (area === 'isango' && tested) return reply(response, 200, backTest(account, tested[1]));
    const found = ruled(request, area, here, query, body);
    if (found) {
      if (found.etag) response.setHeader('etag', found.etag);
      return reply(response, 200, found.result, found.more);
    }
    const stored = /^gateways\/[^/]+\/logs\/([^/]+)\/(request|response)$/.exec(here);
    if (area === 'ai-gateway' && stored) {
      const one = byId.get(stored[1]);
      if (!one) return refuse(response, 404, 7002, 'Not Found');
      response.writeHead(200, { 'content-type': 'application/json' });
      return response.end(JSON.stringify(bodies(one, one._huge)[stored[2]]));
    }
    if (area !== 'isango') return refuse(response, 404, 7003, 'Could not route to this path');
    if (here === 'requests') return list(query, account, response);
    if (here === 'requests/export') {
      response.writeHead(200, { 'content-type': 'application/x-ndjson', 'content-disposition': 'attachment; filename="requests.jsonl"' });
      return response.end(inScope(query, account).map((one) => JSON.stringify(one)).join('\n'));
    }
    if (here.startsWith('requests/')) {
      const one = byId.get(here.slice('requests/'.length));
      if (!one) return refuse(response, 404, 7002, 'There is no record of this id. It may have been removed by retention.');
      const { _question, _output, _huge, ...shown } = one;
      const times = chunks(one);
      return reply(response, 200, { ...shown, usage: one.usage ?? undefined, response: { ...one.response, ...(times.length && { chunk_times_us: times }) } });
    }
    if (here === 'analytics') return reply(response, 200, aggregate(inScope(body, account), body));
    if (here === 'tail') return tail(query, account, response);
    if (here === 'targets') {
      const target = (name, gateway, more) => ({ account, gateway, target: name, circuit: 'closed', rest_ms: 0, benched_ms: 0, in_flight: 2, requests: 31, retries: 0, ttfb_p95_ms: 1180, stream_ttfb_p95_ms: 640, remaining_requests: null, remaining_tokens: null, ...more });
      return reply(response, 200, [target('azure-openai-sa', 'support', { circuit: 'open', rest_ms: 12_400, retries: 6, requests: 44 }), target('azure-openai-eu', 'support', { remaining_tokens: 41_200, remaining_requests: 310 }), target('anthropic', 'support', { ttfb_p95_ms: null })]);
    }
    if (here === 'views' && request.method === 'GET') return reply(response, 200, state.views);
    if (here === 'views') {
      const view = { id: `v${state.views.length + 1}`, ...body };
      state.views.push(view);
      return reply(response, 200, view);
    }
    if (here.startsWith('views/')) {
      state.views = state.views.filter((view) => `views/${view.id}` !== here);
      return reply(response, 200, {});
    }
    return refuse(response, 404, 7003, 'Could not route to this path');
  }

  function file(url, response) {
    const path = normalize(join(DIST, url.pathname));
    const known = path.startsWith(DIST) && existsSync(path) && statSync(path).isFile();
    const chosen = known ? path : join(DIST, 'index.html');
    response.writeHead(200, { 'content-type': TYPES[extname(chosen)] ?? 'application/octet-stream', 'content-security-policy': POLICY, 'x-content-type-options': 'nosniff', 'referrer-policy': 'same-origin' });
    createReadStream(chosen).pipe(response);
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://here');
    if (!url.pathname.startsWith('/client/v4/')) return file(url, response);
    return api(request, url, response).catch((error) => {
      if (error instanceof Refused) return refuse(response, error.status, error.code, error.message);
      if (error instanceof BadFilter) return refuse(response, 400, 7001, error.message);
      console.error(error);
      return refuse(response, 500, 7500, 'The stand-in failed');
    });
  });

  return {
    state, rows, byId, happen,
    listen: (port = 0) => new Promise((done) => server.listen(port, '127.0.0.1', () => done(`http://127.0.0.1:${server.address().port}`))),
    close: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }),
  };
}
