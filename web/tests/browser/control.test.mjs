// What is in force is changed with the keyboard alone, after a look at what that means.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { close, visit } from './harness.mjs';

after(close);

const press = async (page, ...keys) => { for (const key of keys) await page.keyboard.press(key); };
/** Moves the focus on until it is on what has this name. */
async function tabTo(page, role, name) {
  const wanted = page.getByRole(role, { name, exact: true });
  for (let n = 0; n < 60; n += 1) {
    if (await wanted.evaluate((one) => one === document.activeElement).catch(() => false)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`the focus never came to ${name}`);
}

test('a budget is set, reviewed against the past, applied and undone', () =>
  visit({ path: '/?from=now-24h&gw=local/support' }, async ({ page }) => {
    await page.locator('.tile').first().waitFor();
    await press(page, 'g', 'o');
    await page.getByRole('heading', { name: 'Which doors are there?' }).waitFor();
    await press(page, ']', ']');
    await page.getByRole('region', { name: 'Limit monthly-spend' }).waitFor();
    await press(page, 'n');
    await page.keyboard.type('tenant-spend');
    await tabTo(page, 'spinbutton', 'At most');
    await page.keyboard.type('0.01');
    await tabTo(page, 'combobox', 'in each minute to month, or a length: 90s, 7d');
    await press(page, 'Control+a');
    await page.keyboard.type('day');
    await tabTo(page, 'combobox', 'Split by metadata.tenantId, token, model, …');
    await page.keyboard.type('metadata.tenantId');
    await page.getByText('Each tenant may spend $0.01 a day; what goes beyond is refused.').waitFor();
    await press(page, 'Enter');
    await page.getByText('would have met it').waitFor();
    await tabTo(page, 'button', 'Apply');
    await press(page, 'Enter');
    await page.getByRole('region', { name: 'Limit tenant-spend' }).waitFor();
    await tabTo(page, 'button', 'Undo');
    await press(page, 'Enter');
    await page.getByRole('region', { name: 'Limit tenant-spend' }).waitFor({ state: 'detached' });
  }));

test('the requests that a limit would have met are a door away', () =>
  visit({ path: '/control/limits?gw=local/support' }, async ({ page, server }) => {
    await page.getByRole('button', { name: 'Change tenant-daily-tokens' }).click();
    await page.getByLabel('At most').fill('400000');
    await page.getByRole('button', { name: 'Review' }).click();
    const tried = page.getByRole('region', { name: 'Back-test' });
    await tried.getByText('would have met it').waitFor();
    const met = server.rows.filter((one) => one.gateway === 'support').filter((_, index) => index % 9 === 0);
    assert.match(await tried.innerText(), new RegExp(`^${met.length.toLocaleString('en-US')} of `, 'm'));
    await tried.getByRole('table').nth(1).getByRole('link').first().click();
    await page.waitForURL(new RegExp(`/requests/${met.at(-1).id}`));
    await page.getByRole('tab', { name: 'Routing & policy' }).waitFor();
  }));

test('a change of a gateway is tried on what is on record, with a door to what it would have met', () =>
  visit({ path: '/control/gateways?gw=local/support' }, async ({ page, server }) => {
    await page.getByLabel('Answers are kept for').fill('0');
    await page.getByRole('button', { name: 'Review' }).first().click();
    const met = page.getByRole('region', { name: 'What it would have met' });
    const kept = server.rows.filter((one) => one.gateway === 'support' && ['hit', 'stale'].includes(one.cache)).length;
    await met.getByText(`${kept.toLocaleString('en-US')} of `).waitFor();
    await met.getByRole('link').first().click();
    await page.waitForFunction((wanted) => document.querySelector('.overview strong')?.textContent === wanted, kept.toLocaleString('en-US'));
  }));

test('a model without a price gets one, and it can be taken back', () =>
  visit({ path: '/control/prices?from=now-24h' }, async ({ page }) => {
    const unpriced = page.getByRole('region', { name: 'Models without a price' });
    await unpriced.getByRole('button', { name: /^Set a price for/ }).first().waitFor();
    const name = (await unpriced.getByRole('button', { name: /^Set a price for/ }).first().getAttribute('aria-label')).replace('Set a price for ', '');
    await tabTo(page, 'button', `Set a price for ${name}`);
    await press(page, 'Enter');
    await page.keyboard.type('0.40');
    await tabTo(page, 'textbox', 'Output dollars for a million tokens');
    await page.keyboard.type('1.60');
    await press(page, 'Enter');
    await page.getByText('priced from now on').waitFor();
    const yours = page.getByRole('region', { name: 'Prices of your own' });
    await yours.getByText('input 0.40, output 1.60').waitFor();
    await tabTo(page, 'button', `Take back the price of ${name}`);
    await press(page, 'Enter');
    await tabTo(page, 'button', 'Take it back');
    await press(page, 'Enter');
    await yours.waitFor({ state: 'detached' });
  }));

test('what somebody else changed meanwhile is not overwritten', () =>
  visit({ path: '/control/gateways?gw=local/support' }, async ({ page }) => {
    await page.getByLabel('Answers are kept for').fill('60');
    await page.getByRole('button', { name: 'Review' }).first().click();
    await page.evaluate(() => fetch('/client/v4/accounts/local/ai-gateway/gateways/support', { method: 'PUT', headers: { 'x-csrf-token': 'c5rf' }, body: '{"cache_ttl":5}' }));
    await page.getByRole('button', { name: 'Apply' }).click();
    await page.getByText('Somebody else changed it meanwhile').waitFor();
  }));

test('a token is made and shown once', () =>
  visit({ path: '/control/tokens' }, async ({ page }) => {
    await page.getByRole('table').waitFor();
    await press(page, 'n');
    await page.keyboard.type('ci-bot');
    await press(page, 'Enter');
    await page.getByText('isg_').waitFor();
    await press(page, 'Enter');
    await page.getByText('isg_').waitFor({ state: 'detached' });
    await page.getByRole('link', { name: 'ci-bot' }).waitFor();
    assert.equal((await page.content()).includes('isg_'), false);
  }));

test('a gateway is made, changed, and brought back to what it was', () =>
  visit({ path: '/control/gateways' }, async ({ page }) => {
    await page.getByRole('table').waitFor();
    await press(page, 'n');
    await page.keyboard.type('night-shift');
    await press(page, 'Enter');
    await page.getByRole('heading', { name: 'Settings of night-shift' }).waitFor();
    await page.getByLabel('Answers are kept for').fill('7200');
    await press(page, 'Enter');
    await page.getByText('Equal questions are answered from the cache for 2 h.').waitFor();
    await press(page, 'Enter');
    await page.getByText('In force').waitFor();
    await press(page, 'Escape', 'g', 's');
    await page.getByRole('heading', { name: 'Who is signed in?' }).waitFor();
    await press(page, ']', ']');
    await page.getByRole('link', { name: 'Diff' }).first().click();
    await page.locator('.right', { hasText: '"cache_ttl": 7200' }).waitFor();
    await page.getByRole('button', { name: 'Restore revision 1' }).click();
    await page.getByRole('dialog').locator('.left', { hasText: '"cache_ttl": 7200' }).waitFor();
    await page.getByRole('button', { name: 'Restore it' }).click();
    await page.getByText('1 gateway is as of revision 1').waitFor();
  }));

test('a gateway of the configuration file is told to be changed there', () =>
  visit({ path: '/control/limits?gw=local/research' }, async ({ page }) => {
    await page.getByText('stands in the configuration file').waitFor();
    assert.equal(await page.getByRole('button', { name: /New limit/ }).count(), 0);
  }));

test('the cache is emptied, and says by how much', () =>
  visit({ path: '/control/cache?from=now-24h' }, async ({ page }) => {
    await page.locator('.tile').first().waitFor();
    await page.getByRole('region', { name: 'Empty the cache' }).getByLabel('Gateway').selectOption('support');
    await page.getByRole('button', { name: 'Empty' }).click();
    await page.getByRole('button', { name: 'Remove them' }).click();
    await page.getByText('8 answers removed').waitFor();
  }));

test('somebody is invited by a link that is shown, and a role is changed', () =>
  visit({ path: '/settings/users' }, async ({ page }) => {
    await page.getByRole('table').waitFor();
    await page.getByLabel('Role of grace').selectOption('analyst');
    await press(page, 'Escape', 'n');
    await page.keyboard.type('alan@example.com');
    await press(page, 'Enter');
    await page.getByText('/#code=invited').waitFor();
    await press(page, 'Enter');
    await page.getByRole('row', { name: /alan@example.com viewer invited/ }).waitFor();
    assert.equal(await page.getByLabel('Role of grace').inputValue(), 'analyst');
  }));
