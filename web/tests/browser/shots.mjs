// Pictures of every page in both themes, to be looked at: `node tests/browser/shots.mjs FOLDER`.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { close, visit } from './harness.mjs';

const folder = process.argv[2] ?? 'shots';
const only = process.argv[3] ?? '';
mkdirSync(folder, { recursive: true });

const rows = (page) => page.locator('[role=row][aria-rowindex="3"] .cell').first().waitFor();
const openFirst = (match) => async ({ page, server }) => {
  await rows(page);
  const one = server.rows.find(match);
  await page.goto(`${new URL(page.url()).origin}/requests/${one.id}?from=now-24h`);
  await page.locator('[role=tabpanel] *').first().waitFor();
};
const tab = (name, match) => async (at) => {
  await openFirst(match)(at);
  await at.page.getByRole('tab', { name }).click();
};

const SHOTS = {
  home: { path: '/?from=now-24h' },
  'home-empty': { path: '/', api: { records: 'none' } },
  requests: { path: '/requests?from=now-24h' },
  'requests-filter': { path: '/requests?from=now-24h&q=status:error+-model:gpt-4o*+meta.tenantId:acme,globex&vs=previous' },
  'requests-suggest': { path: '/requests?from=now-24h', then: async ({ page }) => { await rows(page); await page.keyboard.press('/'); await page.keyboard.type('model:'); await page.locator('[role=option]').nth(2).waitFor(); } },
  'requests-none': { path: '/requests?q=model:nothing' },
  'requests-wrong': { path: '/requests?q=modle:gpt' },
  conversation: { path: '/requests', then: openFirst((row) => row.provider === 'azure-openai' && row.status === 200 && row.stream && row.usage) },
  timeline: { path: '/requests', then: tab('Timeline', (row) => row.attempts > 1 && row.status === 200) },
  cost: { path: '/requests', then: tab('Cost', (row) => row.usage?.cache_read && row.metadata.tenantId === 'acme') },
  policy: { path: '/requests', then: tab('Routing', (row) => row.cache === 'miss' && row.metadata.tenantId === 'acme') },
  raw: { path: '/requests', then: tab('Raw', (row) => row.provider === 'anthropic') },
  costs: { path: '/costs?from=now-24h' },
  performance: { path: '/performance?from=now-24h' },
  playground: { path: '/playground?gw=local/support', then: async ({ page }) => { await page.getByLabel('Prompt', { exact: true }).fill('Write a polite answer that the item is out of stock until the 14th.'); await page.getByRole('button', { name: 'One target more' }).click(); await page.getByRole('region', { name: 'Target 2' }).getByLabel('Provider and path').fill('anthropic/v1/messages'); await page.getByRole('region', { name: 'Target 2' }).getByLabel('Model').fill('claude-sonnet-4-5'); await page.getByRole('button', { name: /^Send/ }).click(); await page.locator('.lane dl').nth(1).waitFor(); } },
  sessions: { path: '/sessions?from=now-24h' },
  session: { path: '/sessions?from=now-24h', then: async ({ page }) => { await page.locator('tbody a').first().click(); await page.getByText('Turns', { exact: false }).first().waitFor(); } },
  compare: { path: '/compare?from=now-24h&a=meta.promptVersion:a&b=meta.promptVersion:b' },
  gateways: { path: '/control/gateways?gw=local/support&from=now-24h' },
  targets: { path: '/control/targets?gw=local/support&from=now-24h' },
  limits: { path: '/control/limits?gw=local/support&from=now-24h' },
  'limit-form': { path: '/control/limits?gw=local/support', then: async ({ page }) => { await page.getByRole('button', { name: 'Change tenant-daily-tokens' }).click(); await page.locator('.sentence').waitFor(); } },
  'limit-review': { path: '/control/limits?gw=local/support', then: async ({ page }) => { await page.getByRole('button', { name: 'Change tenant-daily-tokens' }).click(); await page.getByLabel('At most').fill('400000'); await page.getByRole('button', { name: 'Review' }).click(); await page.getByText('would have met it').waitFor(); } },
  tokens: { path: '/control/tokens' },
  'token-new': { path: '/control/tokens', then: ({ page }) => page.getByRole('button', { name: 'New token' }).click() },
  keys_: { path: '/control/keys?gw=local/support' },
  cache: { path: '/control/cache?from=now-24h' },
  prices: { path: '/control/prices?from=now-24h' },
  revisions: { path: '/settings/revisions' },
  connect: { path: '/connect?client=python-azure' },
  'connect-done': { path: '/connect', then: async ({ page, server }) => { await page.getByText('Waiting for').waitFor(); server.happen({ gateway: 'default' }); await page.getByText('It works').waitFor(); } },
  palette: { path: '/requests?from=now-24h', then: async ({ page }) => { await rows(page); await page.keyboard.press('Control+k'); await page.locator('[role=option]').first().waitFor(); } },
  keys: { path: '/requests?from=now-24h', then: async ({ page }) => { await rows(page); await page.keyboard.press('?'); await page.locator('dialog').waitFor(); } },
  time: { path: '/?from=now-24h', then: async ({ page }) => { await page.locator('.tile').first().waitFor(); await page.keyboard.press('t'); await page.locator('.ends').waitFor(); } },
  login: { path: '/', api: { signedIn: false } },
  setup: { path: '/#code=right', api: { signedIn: false, setup: true } },
  narrow: { path: '/requests?from=now-24h', width: 820 },
};

for (const [name, { then, ...options }] of Object.entries(SHOTS)) {
  if (only && !name.startsWith(only)) continue;
  for (const theme of ['light', 'dark']) {
    await visit({ ...options, theme }, async (at) => {
      await at.page.waitForLoadState('networkidle').catch(() => {});
      await then?.(at);
      await at.page.waitForTimeout(250);
      await at.page.screenshot({ path: join(folder, `${name}-${theme}.png`) });
    }).catch((error) => console.error(name, theme, String(error).slice(0, 900)));
  }
}
await close();
