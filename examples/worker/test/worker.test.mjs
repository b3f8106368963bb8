// The Worker in workerd, before a running gateway and simulator.
//
// Reads ISANGO_GATEWAY, the address of the gateway up to and with its id, and appends to ISANGO_REPORT,
// if it is set, a JSON line for each request that must be on record. The gateway has a limit of one
// request a day for the tenant `small`. Faults are asked of the simulator in the query, which the
// gateway passes on: here they ride behind the API version.

import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { env } from 'node:process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';
import { Miniflare } from 'miniflare';

const SOURCE = fileURLToPath(new URL('../src/index.ts', import.meta.url));
const TENANTS = ['acme', 'globex', 'small'];
// Prompts of this run alone: what an earlier one cached is of no matter.
const RUN = `${Date.now()}-${process.pid}`;

const workers = [];
let script;

before(async () => {
  const built = await build({
    entryPoints: [SOURCE],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  });
  script = built.outputFiles[0].text;
});

after(() => Promise.all(workers.map((worker) => worker.dispose())));

// A Worker in workerd; the simulator makes `faults`.
async function start(faults = {}) {
  const query = new URLSearchParams(faults).toString();
  const sessions = TENANTS.map((id) => [`key-${id}`, { tenantId: id, userId: 'u1' }]);
  const worker = new Miniflare({
    modules: true,
    script,
    compatibilityDate: '2026-03-01',
    bindings: {
      GATEWAY: env.ISANGO_GATEWAY,
      RESOURCE: 'aoai-first',
      DEPLOYMENT: 'chat',
      API_VERSION: ['2024-10-21', query].filter(Boolean).join('&'),
      AZURE_OPENAI_KEY: 'planted-key-worker',
      APP_KEYS: JSON.stringify(Object.fromEntries(sessions)),
    },
  });
  workers.push(worker);
  // Over a socket, like a browser.
  const base = await worker.ready;
  return (prompt, { tenant = 'acme', ...options } = {}) =>
    fetch(new URL('/chat', base), {
      method: 'POST',
      headers: { authorization: `Bearer key-${tenant}` },
      body: JSON.stringify({
        messages: [{ role: 'user', content: `${prompt} (${RUN})` }],
        ...options,
      }),
    });
}

const header = (response, name) => response.headers.get(`cf-aig-${name}`);

// Notes what must be on record of an answered request.
function onRecord(response, { tenant = 'acme', ...expected } = {}) {
  const id = header(response, 'log-id');
  assert.match(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  const line = { case: 'worker', provider: 'azure-openai', deployment: 'chat', stream: false };
  if (env.ISANGO_REPORT) {
    const facts = { ...line, id, tenant, usage: true, ...expected };
    appendFileSync(env.ISANGO_REPORT, `${JSON.stringify(facts)}\n`);
  }
}

test('the URL swap: a question is answered and on record, and says by whom', async () => {
  const ask = await start();
  const response = await ask('Which way does the gate open?', { cache: false });
  assert.equal(response.status, 200);
  assert.equal(header(response, 'provider'), 'first');
  assert.equal(header(response, 'attempts'), '1');
  assert.equal(header(response, 'cache-status'), 'BYPASS');
  onRecord(response);
  const { choices, usage } = await response.json();
  assert.ok(choices[0].message.content);
  assert.equal(usage.prompt_tokens + usage.completion_tokens, usage.total_tokens);
});

test('the cache: the same tenant hits, another does not', async () => {
  const ask = await start();
  const [first, again, other] = [
    await ask('cached'),
    await ask('cached'),
    await ask('cached', { tenant: 'globex' }),
  ];
  const statuses = [first, again, other].map((one) => header(one, 'cache-status'));
  assert.deepEqual(statuses, ['MISS', 'HIT', 'MISS']);
  assert.equal(await first.text(), await again.text());
  onRecord(first);
  onRecord(again, { usage: false });
  onRecord(other, { tenant: 'globex' });
});

test('the cache: a stream is replayed as a stream', async () => {
  const ask = await start();
  const first = await ask('cached stream', { stream: true });
  const frames = await first.text();
  const again = await ask('cached stream', { stream: true });
  assert.equal(header(again, 'cache-status'), 'HIT');
  assert.equal(again.headers.get('content-type'), first.headers.get('content-type'));
  assert.equal(await again.text(), frames);
  onRecord(first, { stream: true });
});

test('retries: a 429 that passes is not seen', async () => {
  const faults = { sim_status: 429, sim_retry_after_ms: 1, sim_fail_first: 2, sim_key: RUN };
  const ask = await start(faults);
  const response = await ask('busy for a moment', { cache: false });
  assert.equal(response.status, 200);
  assert.equal(header(response, 'attempts'), '3');
});

test('a 429 of the provider is not the tenant’s fault', async () => {
  const ask = await start({ sim_status: 429, sim_retry_after_ms: 1 });
  const response = await ask('busy', { cache: false });
  assert.equal(response.status, 503);
  assert.equal((await response.json()).error, 'model_busy');
});

test('a 429 of a limit is, and says when there is room again', async () => {
  const ask = await start();
  const first = await ask('one', { tenant: 'small' });
  assert.equal(first.status, 200);
  const response = await ask('two', { tenant: 'small' });
  assert.equal(response.status, 429);
  assert.equal((await response.json()).error, 'limit_reached');
  assert.ok(Number(response.headers.get('retry-after')) >= 1);
  // Nobody else's.
  assert.equal((await ask('three', { tenant: 'globex' })).status, 200);
});

test('a stream arrives as it is sent', { timeout: 20_000 }, async () => {
  // After three events the provider falls silent for ten minutes: whoever held one would wait.
  const ask = await start({ sim_stall_after: 3, sim_stall_ms: 600_000 });
  const response = await ask('stream', { stream: true, cache: false });
  assert.equal(response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (text.split('\n\n').length - 1 < 3) {
    const { done, value } = await reader.read();
    assert.ok(!done, text);
    text += value;
  }
  assert.match(text, /^data: \{/);
  await reader.cancel();
});

test('a stream comes whole', async () => {
  const ask = await start();
  const response = await ask('whole stream', { stream: true, cache: false });
  const events = (await response.text()).split('\n\n').filter(Boolean);
  assert.equal(events.at(-1), 'data: [DONE]');
  const deltas = events.slice(0, -1).map((event) => JSON.parse(event.slice('data: '.length)));
  const content = deltas.flatMap(({ choices }) => choices).map(({ delta }) => delta.content ?? '');
  assert.ok(content.join(''));
  onRecord(response, { stream: true });
});

test('who is not signed in asks nothing', async () => {
  const ask = await start();
  for (const tenant of ['nobody', '__proto__']) {
    const response = await ask('hello', { tenant });
    assert.equal(response.status, 401);
  }
});
