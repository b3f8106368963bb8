// Every page and state, in both themes: nothing that axe-core has to say about it.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { close, row, visit } from './harness.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

after(close);

async function violations(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { runOnly: rules }), RULES);
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).slice(0, 3).join(' | ')}`);
}

const opened = (tab) => async ({ page, server, origin }) => {
  const one = server.rows.find((one) => one.attempts > 1 && one.status === 200 && one.metadata.tenantId === 'acme');
  await page.goto(`${origin}/requests/${one.id}?from=now-24h${tab}`);
  await page.locator('[role=tabpanel] *').first().waitFor();
};

const STATES = {
  home: { path: '/?from=now-24h', ready: '.u-wrap' },
  'home without a request': { api: { records: 'none' }, ready: 'text=Nothing has come through' },
  requests: { path: '/requests?from=now-24h&vs=previous', ready: row(1) },
  'requests that are filtered': { path: '/requests?from=now-24h&q=status:error+-model:gpt-4o*', ready: row(1) },
  'a filter that cannot be read': { path: '/requests?q=modle:x', ready: '[role=alert]' },
  'no request that matches': { path: '/requests?q=model:nothing', ready: 'text=No request matches' },
  suggestions: { path: '/requests?from=now-24h', ready: row(1), then: async ({ page }) => { await page.keyboard.press('/'); await page.keyboard.type('model:'); await page.locator('#suggestions .amount').first().waitFor(); } },
  views: { path: '/requests?from=now-24h', ready: row(1), then: ({ page }) => page.getByRole('button', { name: 'Views' }).click() },
  columns: { path: '/requests?from=now-24h', ready: row(1), then: ({ page }) => page.getByRole('button', { name: 'Columns' }).click() },
  'a conversation': { path: '/requests', then: opened('') },
  'a timeline': { path: '/requests', then: opened('&tab=timeline') },
  'a cost': { path: '/requests', then: opened('&tab=cost') },
  'a policy': { path: '/requests', then: opened('&tab=policy') },
  'a record as it stands': { path: '/requests', then: opened('&tab=raw') },
  'a request that there is not': { path: '/requests/00000000-0000-7000-8000-000000000000', ready: 'text=There is no record of this id' },
  costs: { path: '/costs?from=now-24h', ready: '.u-wrap' },
  performance: { path: '/performance?from=now-24h&vs=previous', ready: '.u-wrap' },
  'numbers as a table': { path: '/performance?from=now-24h', ready: '.u-wrap', then: ({ page }) => page.getByRole('button', { name: 'Table' }).first().click() },
  connect: { path: '/connect?client=langchain', ready: 'text=Waiting for the first request' },
  playground: { path: '/playground?gw=local/support', ready: 'text=Its answer comes here' },
  'answers side by side': { path: '/playground?gw=local/support', ready: 'text=Its answer comes here', then: async ({ page }) => { await page.locator('#ways option').first().waitFor({ state: 'attached' }); await page.getByLabel('Prompt', { exact: true }).fill('Hello'); await page.getByRole('button', { name: 'One target more' }).click(); await page.getByRole('button', { name: /^Send/ }).click(); await page.locator('.lane dl').nth(1).waitFor(); } },
  sessions: { path: '/sessions?from=now-24h', ready: 'text=chat-' },
  'one session': { path: '/sessions?from=now-24h', ready: 'text=chat-', then: async ({ page }) => { await page.locator('tbody a').first().click(); await page.locator('.sizes').first().waitFor(); } },
  'no session': { path: '/sessions?key=run', ready: 'text=No session' },
  'two groups': { path: '/compare?from=now-24h&a=meta.promptVersion:a&b=meta.promptVersion:b', ready: 'text=Answers' },
  'two groups to be chosen': { path: '/compare?from=now-24h', ready: '.values .pill' },
  gateways: { path: '/control/gateways?gw=local/support', ready: 'text=Settings of support' },
  'a gateway of the file': { path: '/control/gateways?gw=local/research', ready: 'text=stands in the configuration file' },
  targets: { path: '/control/targets?gw=local/support', ready: 'text=resting' },
  'a new target': { path: '/control/targets?gw=local/support', ready: 'text=resting', then: ({ page }) => page.getByRole('button', { name: /New target/ }).click() },
  limits: { path: '/control/limits?gw=local/support', ready: '.u-wrap' },
  'a limit that is reviewed': { path: '/control/limits?gw=local/support', ready: '.u-wrap', then: async ({ page }) => { await page.getByRole('button', { name: 'Change tenant-daily-tokens' }).click(); await page.getByLabel('At most').fill('400000'); await page.getByRole('button', { name: 'Review' }).click(); await page.getByText('would have met it').waitFor(); } },
  tokens: { path: '/control/tokens', ready: 'text=support-app' },
  'a new token': { path: '/control/tokens', ready: 'text=support-app', then: ({ page }) => page.getByRole('button', { name: /New token/ }).click() },
  'provider keys': { path: '/control/keys?gw=local/support', ready: 'text=9fQ' },
  'the cache': { path: '/control/cache?from=now-24h', ready: '.u-wrap' },
  prices: { path: '/control/prices?from=now-24h', ready: 'text=claude-sonnet' },
  'a price of one’s own': { path: '/control/prices?from=now-24h', ready: 'text=claude-sonnet', then: async ({ page }) => { await page.keyboard.press('n'); await page.getByRole('form', { name: 'A price' }).waitFor(); } },
  'a gateway that is reviewed': { path: '/control/gateways?gw=local/support', ready: 'text=Settings of support', then: async ({ page }) => { await page.getByLabel('Requests that pass').fill('20'); await page.getByLabel('in so many seconds').fill('60'); await page.getByLabel('Requests need a token').check(); await page.getByRole('button', { name: 'Review' }).first().click(); await page.getByText('came without a token').waitFor(); await page.getByText('would have met this rate').waitFor(); } },
  'prices of before': { path: '/control/prices?from=now-24h', ready: 'text=claude-sonnet', then: async ({ page }) => { await page.getByRole('button', { name: 'See what would change' }).click(); await page.getByRole('button', { name: 'Price 410 records again' }).waitFor(); } },
  alerts: { path: '/control/alerts', ready: 'text=monthly-spend-80', then: async ({ page }) => { await page.getByRole('button', { name: 'Test failing' }).click(); await page.getByText('the test did not arrive').waitFor(); await page.getByRole('button', { name: 'Keep quiet: monthly-spend-80' }).click(); await page.getByText('due, and kept quiet').waitFor(); } },
  storage: { path: '/settings/storage', ready: 'text=room for 25 days' },
  users: { path: '/settings/users', ready: 'text=grace' },
  'who is signed in': { path: '/settings', ready: 'text=Another password' },
  trail: { path: '/settings/trail?entry=3', ready: 'text=command line' },
  exports: { path: '/settings/exports', ready: 'text=Laid aside' },
  'a new export': { path: '/settings/exports', ready: 'text=Laid aside', then: async ({ page }) => { await page.keyboard.press('n'); await page.getByLabel('Destination').fill('s3://nowhere/x'); await page.getByRole('button', { name: 'Write a test object' }).click(); await page.getByText('cannot be resolved').waitFor(); } },
  'what was redacted': { path: '/requests', then: async ({ page, server, origin }) => { const one = server.rows.find((row) => server.byId.get(row.id)._question.includes('[redacted:') && row.provider === 'azure-openai'); await page.goto(`${origin}/requests/${one.id}?from=now-24h`); await page.locator('.redacted').first().waitFor(); } },
  'an invitation': { path: '/#code=invited', api: { signedIn: false }, ready: 'text=Welcome, grace' },
  'no revision yet': { path: '/settings/revisions', ready: 'text=Nothing was changed' },
  palette: { path: '/?from=now-24h', ready: '.tile', then: async ({ page }) => { await page.keyboard.press('Control+k'); await page.locator('#found [role=option]').first().waitFor(); } },
  keys: { path: '/?from=now-24h', ready: '.tile', then: async ({ page }) => { await page.keyboard.press('?'); await page.getByRole('dialog', { name: 'Keys' }).waitFor(); } },
  times: { path: '/?from=now-24h', ready: '.tile', then: async ({ page }) => { await page.keyboard.press('t'); await page.getByRole('dialog', { name: 'Time' }).waitFor(); } },
  'signing in': { api: { signedIn: false }, ready: 'text=Sign in' },
  'the first owner': { path: '/#code=right', api: { signedIn: false, setup: true }, ready: 'text=Who owns' },
  'no owner, and no code': { api: { signedIn: false, setup: true }, ready: 'text=has no owner yet' },
  'a page that there is not': { path: '/nowhere', ready: 'text=There is no such page' },
};

for (const [name, { ready, then, ...options }] of Object.entries(STATES)) {
  test(`${name}, light and dark`, () =>
    visit(options, async (at) => {
      if (ready) await at.page.locator(ready).first().waitFor();
      await then?.(at);
      await at.page.waitForLoadState('networkidle');
      const light = await violations(at.page);
      await at.page.emulateMedia({ colorScheme: 'dark' });
      await at.page.locator('html[data-theme=dark]').waitFor();
      await at.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      assert.deepEqual({ light, dark: await violations(at.page) }, { light: [], dark: [] });
    }));
}
