// What people come for, against the real thing and with the keyboard alone.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { close, opened, row } from '../browser/harness.mjs';
import { ask, begin, press, setUp, start, tabTo, visit } from './isango.mjs';

let isango;
let state;
const HOUR = 'from=now-1h';

before(async () => {
  isango = await start();
  await opened({ origin: isango.admin }, async ({ page, context }) => {
    await setUp(page, isango);
    state = await context.storageState();
  });
}, { timeout: 120_000 });
after(async () => {
  await close();
  await isango.stop();
});

const on = (options, use) => visit(isango, state, options, use);
/** Waits until a number of the page is what it should be. */
const counted = (page, wanted) => page.waitForFunction((text) => document.querySelector('.overview strong')?.textContent === text, String(wanted));

test('the first request of an application appears by itself, and is opened', () =>
  on({ path: '/connect' }, async ({ page }) => {
    await page.getByText('Waiting for the first request through default').waitFor();
    const { id, status } = await ask(isango, { gateway: 'default' });
    assert.equal(status, 200);
    await page.getByText('It works').waitFor();
    await tabTo(page, 'link', 'See this request');
    await press(page, 'Enter');
    await page.waitForURL(new RegExp(`/requests/${id}`));
    await page.getByText('Where is my order 48211?').waitFor();
  }));

test('an error is found, and its cause read', async () => {
  await ask(isango, { gateway: 'default', headers: { 'x-sim-status': '503' }, metadata: { tenantId: 'outage' } });
  await on({ path: `/?${HOUR}` }, async ({ page }) => {
    await page.locator('.tile').first().waitFor();
    await press(page, 'g', 'r');
    await page.locator(row(1)).waitFor();
    await press(page, '/');
    await page.keyboard.type('status:error meta.tenantId:outage');
    await press(page, 'Enter');
    await counted(page, 1);
    await press(page, 'Escape', 'Escape', 'j', 'Enter');
    await page.locator('.failure').waitFor();
    assert.match(await page.locator('.failure').innerText(), /503.*upstream to blame/s);
    await press(page, '2');
    await page.getByText('status 503').first().waitFor();
  });
});

test('requests are filtered by tenant, and their number is that of the command line', async () => {
  for (let n = 0; n < 3; n += 1) await ask(isango, { metadata: { tenantId: 'counted' } });
  await on({ path: `/requests?${HOUR}` }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    await press(page, '/');
    await page.keyboard.type('meta.tenantId:counted');
    await press(page, 'Enter');
    await counted(page, 3);
    const told = isango.run('logs', 'query', '--json', 'meta.tenantId:counted').trim().split('\n');
    assert.equal(told.length, 3);
  });
});

test('requests arrive live', () =>
  on({ path: '/requests' }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    await press(page, 'l');
    await page.locator('.dot.on').waitFor();
    await ask(isango, { gateway: 'default', path: 'openai/chat/completions', headers: { authorization: 'Bearer any' }, body: { model: 'gpt-4o-mini' }, metadata: { tenantId: 'live-one' } });
    await page.locator(row(1)).getByText('live-one').waitFor();
  }));

test('two versions of a prompt are compared: which one costs more is told for sure', async () => {
  const version = (promptVersion, tokens) => Promise.all(Array.from({ length: 24 }, (_, n) => ask(isango, { gateway: 'default', metadata: { promptVersion, item: `q${n}` }, headers: { 'x-sim-tokens': String(tokens + (n % 5)) }, body: { messages: [{ role: 'user', content: `Version ${promptVersion}, question ${n}` }] } })));
  await version('short', 20);
  await version('long', 90);
  await on({ path: `/compare?${HOUR}` }, async ({ page }) => {
    await tabTo(page, 'button', /^A: short/);
    await press(page, 'Enter');
    await tabTo(page, 'button', /^B: long/);
    await press(page, 'Enter');
    const numbers = page.getByRole('region', { name: 'Numbers of both' });
    await numbers.getByRole('row', { name: /^Requests 24 24/ }).waitFor();
    await numbers.getByRole('row', { name: /^Cost per request.*A is better/ }).waitFor();
    await numbers.getByRole('row', { name: /^Output tokens.*they differ/ }).waitFor();
    await tabTo(page, 'combobox', 'that have the same');
    await page.keyboard.type('item');
    await page.getByText('1 of 24: q').waitFor();
    await page.getByText('Answers', { exact: false }).first().waitFor();
    // The address has all of it.
    const before = await numbers.innerText();
    await page.reload();
    await numbers.getByRole('row', { name: /^Requests 24 24/ }).waitFor();
    assert.equal(await numbers.innerText(), before);
  });
});

test('a gateway is made, a budget set, and it bites', () =>
  on({ path: `/control?${HOUR}` }, async ({ page }) => {
    await page.getByRole('table').waitFor();
    await begin(page);
    await page.keyboard.type('shop');
    await press(page, 'Enter');
    await page.getByRole('heading', { name: 'Settings of shop' }).waitFor();
    for (let n = 0; n < 3; n += 1) assert.equal((await ask(isango, { gateway: 'shop' })).status, 200);
    await press(page, 'Escape', ']', ']');
    await page.getByRole('button', { name: 'Set a budget' }).waitFor();
    await begin(page);
    await page.keyboard.type('daily-requests');
    await tabTo(page, 'combobox', 'Counts');
    await page.keyboard.type('requests');
    await tabTo(page, 'spinbutton', 'At most');
    await press(page, 'Control+a');
    await page.keyboard.type('2');
    await tabTo(page, 'combobox', /^in each/);
    await press(page, 'Control+a');
    await page.keyboard.type('day');
    await tabTo(page, 'combobox', /^Split by/);
    await page.keyboard.type('metadata.tenantId');
    await press(page, 'Enter');
    // The three of before are one too many.
    await page.getByText('1 of 3 requests').waitFor();
    await tabTo(page, 'button', 'Apply');
    await press(page, 'Enter');
    await page.getByText('In force').waitFor();
    // A new limit counts from now on.
    for (let n = 0; n < 2; n += 1) assert.equal((await ask(isango, { gateway: 'shop' })).status, 200);
    const refused = await ask(isango, { gateway: 'shop' });
    assert.equal(refused.status, 429, refused.text);
    assert.equal((await ask(isango, { gateway: 'shop', metadata: { tenantId: 'globex' } })).status, 200);
    await page.getByRole('region', { name: 'Limit daily-requests' }).getByText(/^[35] of 2$/).waitFor();
    await page.goto(`${isango.admin}/requests/${refused.id}?tab=policy`);
    await page.getByText('daily-requests').first().waitFor();
    await page.getByText('refused').first().waitFor();
  }));

test('a token is made and opens, and a revoked one does not', () =>
  on({ path: '/control/gateways?gw=local/shop' }, async ({ page }) => {
    await page.getByRole('heading', { name: 'Settings of shop' }).waitFor();
    await tabTo(page, 'checkbox', 'Requests need a token');
    await press(page, 'Space');
    await tabTo(page, 'button', 'Review');
    await press(page, 'Enter');
    await page.getByText('Requests need a token.').waitFor();
    await press(page, 'Enter');
    await page.getByText('In force').waitFor();
    assert.equal((await ask(isango, { gateway: 'shop' })).status, 401);
    await press(page, ']', ']', ']');
    await page.getByRole('heading', { name: 'Who may come in?' }).waitFor();
    await begin(page);
    await page.keyboard.type('shop-app');
    await press(page, 'Enter');
    const token = await page.locator('.value code').innerText();
    await press(page, 'Enter');
    await page.getByRole('link', { name: 'shop-app' }).waitFor();
    const with_ = { gateway: 'shop', headers: { 'cf-aig-authorization': `Bearer ${token}` }, metadata: { tenantId: 'initech' } };
    assert.equal((await ask(isango, with_)).status, 200);
    await tabTo(page, 'button', 'Revoke shop-app');
    await press(page, 'Enter');
    await tabTo(page, 'button', 'Revoke it');
    await press(page, 'Enter');
    await page.getByText(/^revoked/).first().waitFor();
    assert.equal((await ask(isango, with_)).status, 401);
    assert.equal((await page.content()).includes(token), false);
  }));

test('the cache is emptied, and the next question is paid for again', async () => {
  const kept = { gateway: 'default', headers: { 'cf-aig-cache-ttl': '600' }, body: { messages: [{ role: 'user', content: 'Kept for a while' }] } };
  assert.deepEqual([(await ask(isango, kept)).cache, (await ask(isango, kept)).cache], ['MISS', 'HIT']);
  await on({ path: `/control/cache?${HOUR}` }, async ({ page }) => {
    await page.locator('.tile').first().waitFor();
    await tabTo(page, 'combobox', 'Gateway');
    await page.keyboard.type('default');
    await tabTo(page, 'button', 'Empty');
    await press(page, 'Enter');
    await tabTo(page, 'button', 'Remove them');
    await press(page, 'Enter');
    await page.getByText(/^✓ ?\d+ answers? removed/).waitFor();
    assert.equal((await ask(isango, kept)).cache, 'MISS');
  });
});

test('a configuration is brought back to what it was', () =>
  on({ path: '/control/gateways?gw=local/shop' }, async ({ page }) => {
    await page.getByRole('heading', { name: 'Settings of shop' }).waitFor();
    await tabTo(page, 'spinbutton', /^Answers are kept for/);
    await press(page, 'Control+a');
    await page.keyboard.type('7200');
    await press(page, 'Enter');
    await page.getByText('Equal questions are answered from the cache for 2 h.').waitFor();
    await press(page, 'Enter');
    await page.getByText('In force').waitFor();
    await press(page, 'Escape', 'g', 's');
    await page.getByRole('heading', { name: 'Who is signed in?' }).waitFor();
    await press(page, ']', ']');
    await page.getByRole('table').waitFor();
    await tabTo(page, 'link', 'Diff');
    await press(page, 'Enter');
    await page.locator('.right', { hasText: '7200' }).waitFor();
    const second = await page.getByRole('button', { name: /^Restore revision/ }).nth(1).getAttribute('aria-label');
    await tabTo(page, 'button', second);
    await press(page, 'Enter');
    await tabTo(page, 'button', 'Restore it');
    await press(page, 'Enter');
    await page.getByText(/1 gateway is as of revision/).waitFor();
    await page.goto(`${isango.admin}/control/gateways?gw=local/shop`);
    await page.getByRole('heading', { name: 'Settings of shop' }).waitFor();
    assert.equal(await page.getByLabel(/^Answers are kept for/).inputValue(), '0');
  }));

test('a prompt is tried on two targets, and a request tried again', () =>
  on({ path: '/playground?gw=local/default' }, async ({ page }) => {
    await tabTo(page, 'textbox', 'Prompt');
    await page.keyboard.type('Say hello in isiZulu.');
    await tabTo(page, 'button', /One target more/);
    await press(page, 'Enter');
    const [first, second] = [1, 2].map((n) => page.getByRole('region', { name: `Target ${n}` }));
    for (const [lane, path, model] of [[first, 'openai/chat/completions', 'gpt-4o'], [second, 'anthropic/v1/messages', 'claude-sonnet-4-5']]) {
      await lane.getByLabel('Provider and path').fill(path);
      await lane.getByLabel('Model').fill(model);
      await lane.getByLabel('Key').fill('any');
    }
    await press(page, 'Control+Enter');
    for (const lane of [first, second]) {
      await lane.locator('dl').getByText('Cost').waitFor();
      assert.match(await lane.locator('dl').innerText(), /\$0\.\d+/);
      assert.ok((await lane.locator('.answer').innerText()).length > 10);
    }
    await tabTo(page, 'link', 'its record');
    await press(page, 'Enter');
    await page.getByText('Say hello in isiZulu.').waitFor();
    await press(page, 'r');
    await page.getByText('for each target now').waitFor();
    await press(page, 'Escape', 'Control+Enter');
    await page.getByRole('link', { name: 'its record' }).waitFor();
  }));

test('a session is followed from its list to one of its turns', async () => {
  for (let n = 0; n < 4; n += 1) await ask(isango, { gateway: 'default', metadata: { sessionId: 'run-7', tenantId: 'acme' } });
  await on({ path: `/?${HOUR}` }, async ({ page }) => {
    await page.locator('.tile').first().waitFor();
    await press(page, 'g', 'i');
    await page.getByRole('link', { name: 'run-7' }).waitFor();
    await tabTo(page, 'link', 'run-7');
    await press(page, 'Enter');
    await page.getByRole('heading', { name: 'sessionId run-7' }).waitFor();
    assert.equal(await page.locator('tbody tr').count(), 4);
  });
});

test('no secret of anybody reaches the browser', async () => {
  const canary = 'sk-canary-4f9a2c';
  await ask(isango, { gateway: 'default', headers: { 'api-key': canary, 'x-sim-status': '401' } });
  await on({ path: `/requests?${HOUR}` }, async ({ page }) => {
    const answers = [];
    page.on('response', (response) => { if (response.url().includes('/client/')) answers.push(response.text().catch(() => '')); });
    await page.reload();
    await page.locator(row(1)).waitFor();
    await press(page, 'j', 'Enter');
    for (const tab of ['2', '3', '4', '5', '1']) await press(page, tab);
    await page.getByRole('tab', { name: 'Conversation' }).waitFor();
    await page.waitForLoadState('networkidle');
    for (const text of await Promise.all(answers)) assert.equal(text.includes(canary), false);
  });
});
