// Pictures of every page in both themes, for the documentation and to be looked at:
// `node tests/real/shots.mjs FOLDER [PAGE,…]`. They are made small.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { close, opened, row } from '../browser/harness.mjs';
import { ask, setUp, start, visit } from './isango.mjs';
import { operated } from './operated.mjs';
import { small } from './small.mjs';

const [folder = 'shots', only = ''] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });

const SECONDS = Number(process.env.SECONDS ?? 150);
const began = new Date();
const isango = await start({ seconds: SECONDS, rate: 40 });

// What the demo's traffic has none of: sessions, versions of a prompt, a gateway that can be changed.
const DEFAULT = { gateway: 'default' };
for (let session = 1; session <= 6; session += 1) {
  for (let turn = 0; turn < 3 + session; turn += 1) {
    await ask(isango, { ...DEFAULT, metadata: { tenantId: 'acme', sessionId: `run-${session}` }, headers: { 'x-sim-tokens': String(20 + 30 * turn) }, body: { messages: [{ role: 'user', content: `Turn ${turn} of an agent, which has read much by now. ${'It has. '.repeat(40 * turn)}` }] } });
  }
}
await Promise.all(Array.from({ length: 80 }, (_, n) => ask(isango, { ...DEFAULT, metadata: { tenantId: 'acme', promptVersion: n % 2 ? 'b' : 'a', item: `case-${n >> 1}` }, headers: { 'x-sim-tokens': String((n % 2 ? 48 : 70) + (n % 9)), 'x-sim-latency-ms': String(40 + (n % 13) * 12) }, body: { messages: [{ role: 'system', content: n % 2 ? 'Answer in one sentence.' : 'Answer at length, and kindly.' }, { role: 'user', content: `Case ${n >> 1}: where is my order?` }] } })));

let state;
await opened({ origin: isango.admin }, async ({ page, context }) => {
  await setUp(page, isango);
  state = await context.storageState();
  const { csrf } = (await (await context.request.get(`${isango.admin}/client/v4/isango/session`)).json()).result;
  const api = `${isango.admin}/client/v4/accounts/local`;
  const send = (method, path, data) => context.request.fetch(`${api}${path}`, { method, data, headers: { 'x-csrf-token': csrf } });
  for (const [name, role] of [['grace', 'admin'], ['thabo', 'analyst'], ['lerato', 'viewer']]) await send('POST', '/isango/users', { name, role });
  await send('POST', '/isango/prices', { provider: 'azure-openai', model: 'gpt-4o-mini', input: '0.14', output: '0.55', source: 'agreement 4711' });
  await send('POST', '/ai-gateway/gateways', { id: 'shop', cache_invalidate_on_update: true, cache_ttl: 3600, collect_logs: true, rate_limiting_interval: 60, rate_limiting_limit: 600 });
  await send('PUT', '/isango/gateways/shop/settings', {
    targets: [
      { name: 'azure-openai-san', provider: 'azure-openai', resource: 'aoai-demo-sa', region: 'southafricanorth', models: { chat: 'gpt-4o' } },
      { name: 'azure-openai-eu', provider: 'azure-openai', resource: 'aoai-demo-eu', region: 'westeurope', models: { chat: 'gpt-4o' } },
    ],
    fallback: { 'azure-openai-san': ['azure-openai-eu'] },
    limits: [{ id: 'tenant-daily-spend', by: ['metadata.tenantId'], unit: 'cost', limit: 0.006, window: 'day' }, { id: 'monthly-tokens', unit: 'tokens', limit: 40_000, window: 'month' }],
  });
  for (const [name, more] of [['shop-app', { gateways: ['shop'], metadata: { tenantId: 'acme' }, spend: { limit_usd: '50', period: 'month' } }], ['night-batch', { models: ['gpt-4o-mini*'], expires_at: new Date(Date.now() + 5 * 86_400_000).toISOString() }], ['auditor', { scopes: ['metadata_read'] }]]) await send('POST', '/isango/tokens', { name, ...more });
});
for (let n = 0; n < 60; n += 1) await ask(isango, { gateway: 'shop', metadata: { tenantId: ['acme', 'acme', 'globex', 'initech'][n % 4] }, headers: { 'x-sim-tokens': '40' }, body: { messages: [{ role: 'user', content: `Question ${n % 22}` }] } });

const RANGE = `from=${began.toISOString()}&to=${new Date().toISOString()}`;

const first = (filter, tab = '') => async ({ page, origin }) => {
  await page.goto(`${origin}/requests?${RANGE}&q=${encodeURIComponent(filter)}`);
  await page.locator(row(1)).click();
  await page.locator('[role=tabpanel] *').first().waitFor();
  if (tab) await page.getByRole('tab', { name: tab }).click();
};

const SHOTS = {
  home: { path: `/?${RANGE}` },
  requests: { path: `/requests?${RANGE}` },
  conversation: { then: first('gateway:support status:ok stream:true') },
  timeline: { then: first('attempts:>1', 'Timeline') },
  sessions: { path: `/sessions?${RANGE}` },
  session: { path: `/sessions/run-6?${RANGE}` },
  costs: { path: `/costs?${RANGE}` },
  performance: { path: `/performance?${RANGE}` },
  compare: { path: `/compare?${RANGE}&a=meta.promptVersion:a&b=meta.promptVersion:b&by=item` },
  playground: { path: '/playground?gw=local/default', then: async ({ page }) => {
    await page.getByLabel('Prompt', { exact: true }).fill('Write a polite answer that the item is out of stock until the 14th.');
    await page.getByRole('button', { name: 'One target more' }).click();
    for (const [n, path, model] of [[1, 'openai/chat/completions', 'gpt-4o'], [2, 'anthropic/v1/messages', 'claude-sonnet-4-5']]) {
      const lane = page.getByRole('region', { name: `Target ${n}` });
      await lane.getByLabel('Provider and path').fill(path);
      await lane.getByLabel('Model').fill(model);
      await lane.getByLabel('Key').fill('any');
    }
    await page.keyboard.press('Control+Enter');
    await page.locator('.lane dl').nth(1).waitFor();
  } },
  gateways: { path: `/control/gateways?gw=local/shop&${RANGE}` },
  targets: { path: `/control/targets?gw=local/shop&${RANGE}` },
  limits: { path: `/control/limits?gw=local/shop&${RANGE}` },
  review: { path: `/control/limits?gw=local/shop&${RANGE}`, then: async ({ page }) => {
    await page.getByRole('button', { name: 'Change tenant-daily-spend' }).click();
    await page.getByLabel('At most').fill('0.002');
    await page.getByRole('button', { name: 'Review' }).click();
    await page.getByText('would have met it').waitFor();
  } },
  tokens: { path: '/control/tokens' },
  cache: { path: `/control/cache?${RANGE}` },
  prices: { path: `/control/prices?${RANGE}` },
  you: { path: '/settings/you' },
  users: { path: '/settings/users' },
  revisions: { path: '/settings/revisions?revision=2' },
  trail: { path: '/settings/trail' },
  connect: { path: '/connect?client=python-azure' },
};

/** Takes each picture in both themes, or those that are asked for. */
async function take(from, state, shots) {
  for (const [name, { path = '/', then }] of Object.entries(shots)) {
    if (only && !only.split(',').includes(name)) continue;
    for (const theme of ['light', 'dark']) {
      await visit(from, state, { path, theme, width: 1280, height: 800 }, async (at) => {
        await at.page.waitForLoadState('networkidle', { timeout: 2_500 }).catch(() => {});
        await then?.(at);
        await at.page.waitForTimeout(350);
        writeFileSync(join(folder, `${name}-${theme}.png`), small(await at.page.screenshot()));
      }).catch((error) => console.error(name, theme, String(error).slice(0, 600)));
    }
  }
}

await take(isango, state, SHOTS);
await isango.stop();

// What needs an operator's configuration: alerts, exports, redaction.
const configured = await operated();
const PATH = 'azure-openai/aoai-test/chat/chat/completions?api-version=2024-10-21';
for (let n = 0; n < 40; n += 1) await ask(configured, { path: PATH, headers: { 'x-sim-tokens': '60', ...(n % 12 === 0 && { 'x-sim-status': '503' }) }, body: { messages: [{ role: 'user', content: 'My card is 4111 1111 1111 1111, and my mail ada@example.com: was it charged twice?' }] } });
await opened({ origin: configured.admin }, async ({ page, context }) => {
  await setUp(page, configured);
  state = await context.storageState();
  const { csrf } = (await (await context.request.get(`${configured.admin}/client/v4/isango/session`)).json()).result;
  for (const [name, where] of [['siem', `${configured.hooks.address}/siem?header_X-Key=planted`], ['trail', 's3://trail/audit?region=af-south-1&endpoint=127.0.0.1:9&access-key-id=any&secret-access-key=planted']]) {
    await context.request.post(`${configured.admin}/client/v4/accounts/local/logpush/jobs`, { data: { name, destination_conf: where, enabled: true, max_upload_interval_seconds: 1 }, headers: { 'x-csrf-token': csrf } });
  }
});
for (let n = 0; n < 12; n += 1) await ask(configured, { path: PATH });
await take(configured, state, {
  alerts: { path: '/control/alerts' },
  exports: { path: '/settings/exports' },
  storage: { path: '/settings/storage' },
  redacted: { path: '/requests', then: async ({ page }) => {
    await page.locator(row(20)).click();
    await page.locator('.redacted').first().waitFor();
  } },
});
await configured.stop();
await close();
