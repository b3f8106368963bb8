// Cloudflare's official JavaScript SDK against the management API; only its base URL is changed.
//
// Reads ISANGO_API, the address up to and with `/client/v4`, ISANGO_TOKEN, a token that may change
// the account `local`, and ISANGO_GATEWAY, the address of the gateway `default`. Methods of
// capabilities that this version does not have must be refused with code 7013.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Cloudflare from 'cloudflare';

const client = new Cloudflare({
  baseURL: process.env.ISANGO_API,
  apiToken: process.env.ISANGO_TOKEN,
  maxRetries: 0,
});
const api = client.aiGateway;
const account_id = 'local';
const of = { account_id, gateway_id: 'default' };
const plain = {
  cache_invalidate_on_update: true,
  cache_ttl: 0,
  collect_logs: true,
  rate_limiting_interval: 0,
  rate_limiting_limit: 0,
};
const called = new Set();

/** Calls a method and notes that it was. */
function call(resource, method, ...rest) {
  called.add(`${resource.constructor.name}.${method}`);
  return resource[method](...rest);
}

async function all(list) {
  const items = [];
  for await (const item of list) items.push(item);
  return items;
}

async function refused(status, code, asked) {
  await assert.rejects(asked, (error) => {
    assert.equal(error.status, status);
    assert.equal(error.errors[0].code, code);
    return true;
  });
}

test('gateways', async () => {
  const made = await call(api, 'create', { account_id, id: 'js-one', ...plain });
  assert.deepEqual([made.id, made.cache_ttl, made.is_default], ['js-one', 0, false]);
  for (const n of [0, 1, 2]) await api.create({ account_id, id: `js-page-${n}`, ...plain });
  const listed = await all(call(api, 'list', { account_id, search: 'js-page', per_page: 1 }));
  assert.deepEqual(listed.map((one) => one.id), ['js-page-0', 'js-page-1', 'js-page-2']);
  const changed = await call(api, 'update', 'js-one', { account_id, ...plain, cache_ttl: 60 });
  assert.equal(changed.cache_ttl, 60);
  assert.equal((await call(api, 'get', 'js-one', { account_id })).cache_ttl, 60);
  await refused(404, 7002, api.get('js-none', { account_id }));
  await refused(409, 7011, api.create({ account_id, id: 'js-one', ...plain }));
  await refused(400, 7001, api.update('js-one', { account_id, ...plain, cache_ttl: -1 }));
  await refused(404, 7002, api.get('js-one', { account_id: 'another' }));
  assert.equal((await call(api, 'delete', 'js-one', { account_id })).id, 'js-one');
  for (const n of [0, 1, 2]) await api.delete(`js-page-${n}`, { account_id });
});

test('urls', async () => {
  const url = await call(api.urls, 'get', 'openai', of);
  assert.equal(url, `${process.env.ISANGO_GATEWAY}/openai`);
});

test('provider keys', async () => {
  const made = await call(api.providerConfigs, 'create', 'default', {
    account_id,
    provider_slug: 'openai',
    alias: 'js',
    default_config: false,
    secret: 'planted-key-managed',
  });
  assert.deepEqual([made.alias, made.provider_slug], ['js', 'openai']);
  assert(!JSON.stringify(made).includes('planted'));
  const listed = await all(call(api.providerConfigs, 'list', 'default', { account_id }));
  assert(listed.some((one) => one.alias === 'js'));
});

async function chat(tenant) {
  const answer = await fetch(`${process.env.ISANGO_GATEWAY}/openai/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: 'Bearer planted-key-manage',
      'content-type': 'application/json',
      'user-agent': 'manage.mjs',
      'cf-aig-metadata': JSON.stringify({ tenantId: tenant }),
    },
    body: JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: `I am ${tenant}` }] }),
  });
  assert.equal(answer.status, 200);
  await answer.text();
  return answer.headers.get('cf-aig-log-id');
}

/** Asks until so many records are there: they are written behind the answers. */
async function found(count, query) {
  let ids;
  for (let n = 0; n < 100; n += 1) {
    const page = await all(call(api.logs, 'list', 'default', { account_id, ...query }));
    ids = page.map((one) => one.id);
    if (ids.length === count) return ids;
  }
  assert.fail(`${JSON.stringify(query)}: ${ids.length} instead of ${count}`);
}

test('logs', async () => {
  const ofJs = { key: 'user_agent', operator: 'eq', value: ['manage.mjs'] };
  const ids = [];
  for (const tenant of ['acme', 'acme', 'globex']) ids.push(await chat(tenant));
  assert.deepEqual(await found(3, { filters: [ofJs], per_page: 1 }), ids.toReversed());
  assert.deepEqual(await found(3, { filters: [ofJs], order_by_direction: 'asc', per_page: 2 }), ids);
  for (const [key, operator, value, count] of [
    ['cached', 'eq', [false], 3],
    ['metadata.value', 'eq', ['acme'], 2],
    ['metadata.value', 'eq', ['acme', 'globex'], 3],
    ['tokens', 'gt', [0], 3],
    ['event_id', 'eq', [ids[1]], 1],
  ]) {
    await found(count, { filters: [ofJs, { key, operator, value }] });
  }
  const one = await call(api.logs, 'get', ids[0], of);
  assert.deepEqual([one.id, one.success, JSON.parse(one.metadata)], [ids[0], true, { tenantId: 'acme' }]);
  const sent = await call(api.logs, 'request', ids[0], of);
  assert.equal(sent.messages[0].content, 'I am acme');
  const answered = await call(api.logs, 'response', ids[0], of);
  assert.equal(answered.object, 'chat.completion');
  await call(api.logs, 'edit', ids[0], { ...of, feedback: 1, score: 90, metadata: { reviewed: true } });
  await found(1, { filters: [ofJs, { key: 'feedback', operator: 'eq', value: [1] }] });
  await call(api.logs, 'delete', 'default', { account_id, filters: [ofJs], limit: 1 });
  await found(2, { filters: [ofJs] });
  await refused(404, 7002, api.logs.get(ids[0], of));
});

/** Every method of a resource, whichever of its classes has it. */
function methods(resource) {
  const names = new Set();
  let at = Object.getPrototypeOf(resource);
  while (at && at !== Object.prototype) {
    for (const name of Object.getOwnPropertyNames(at)) names.add(name);
    at = Object.getPrototypeOf(at);
  }
  return [...names].filter((name) => name !== 'constructor' && !name.startsWith('_'));
}

test('custom providers', async () => {
  const resource = api.customProviders;
  const fields = { name: 'Ours', slug: 'js-ours', base_url: 'https://llm.example.com' };
  const made = await call(resource, 'create', { account_id, ...fields });
  assert.deepEqual([made.slug, made.name], ['js-ours', 'Ours']);
  const slugs = async () => (await all(resource.list({ account_id }))).map((one) => one.slug);
  called.add('CustomProviders.list');
  assert((await slugs()).includes('js-ours'));
  const found = await call(resource, 'get', made.id, { account_id });
  assert.equal(found.base_url, fields.base_url);
  await refused(409, 1003, resource.create({ account_id, ...fields }));
  await call(resource, 'delete', made.id, { account_id });
  assert(!(await slugs()).includes('js-ours'));
});

test('what this version does not have', async () => {
  const { billing } = api;
  const resources = [
    api.datasets,
    api.dynamicRouting,
    api.evaluationTypes,
    api.evaluations,
    billing,
    billing.spendingLimit,
    billing.topup,
    billing.topup.config,
  ];
  let count = 0;
  const more = { ...of, id: 'x', type: 'all', value_grouping_window: 'day' };
  for (const resource of resources) {
    for (const method of methods(resource)) {
      // Names come before the parameters, and options behind them.
      const names = Array(Math.max(0, resource[method].length - 2)).fill('x');
      const asked = async () => resource[method](...names, more);
      await refused(404, 7013, asked());
      count += 1;
    }
  }
  assert(count >= 31, `${count}`);
});

test('nothing is left out', () => {
  for (const resource of [api, api.customProviders, api.logs, api.urls, api.providerConfigs]) {
    for (const method of methods(resource)) {
      const name = `${resource.constructor.name}.${method}`;
      assert(called.has(name), name);
    }
  }
});
