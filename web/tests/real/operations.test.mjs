// What an operator does, with the keyboard alone: an export is made and tested, a price is set, and
// who did it is on the trail; what was redacted is told.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { close, opened } from '../browser/harness.mjs';
import { ask, begin, press, setUp, tabTo, visit } from './isango.mjs';
import { operated } from './operated.mjs';

const PATH = 'azure-openai/aoai-test/chat/chat/completions?api-version=2024-10-21';

let isango;
let state;

before(async () => {
  isango = await operated();
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
const request = (more) => ask(isango, { path: PATH, ...more });

test('an export is tested, begun, delivers, and is paused, tested again and removed', () =>
  on({ path: '/settings/exports' }, async ({ page }) => {
    await page.getByText('Nothing is exported').waitFor();
    await begin(page);
    await page.keyboard.type('siem');
    await tabTo(page, 'textbox', /^Destination/);
    await page.keyboard.type(`${isango.hooks.address}/in?header_X-Key=planted-secret`);
    await tabTo(page, 'button', 'Write a test object');
    await press(page, 'Enter');
    await page.getByText('a test object was written').waitFor();
    assert.equal(isango.hooks.taken[0].headers['x-key'], 'planted-secret');
    await tabTo(page, 'button', 'Begin');
    await press(page, 'Enter');
    const job = page.getByRole('region', { name: 'Export siem' });
    await job.getByText('goes on').waitFor();
    assert.equal((await page.content()).includes('planted-secret'), false);
    await tabTo(page, 'button', 'Test siem');
    await press(page, 'Enter');
    await job.getByText('a test object was written').waitFor();
    assert.equal(isango.hooks.taken.at(-1).headers['x-key'], 'planted-secret');
    await tabTo(page, 'button', 'Pause siem');
    await press(page, 'Enter');
    await job.getByText('paused').waitFor();
    await tabTo(page, 'button', 'Remove siem');
    await press(page, 'Enter');
    await tabTo(page, 'button', 'Remove it');
    await press(page, 'Enter');
    await job.waitFor({ state: 'detached' });
  }));

test('a model without a price gets one, and the next request has a cost', async () => {
  const unknown = { path: 'openai/chat/completions', headers: { authorization: 'Bearer any' }, body: { model: 'house-model-7' } };
  const { id } = await request(unknown);
  await on({ path: `/requests/${id}?tab=cost` }, async ({ page }) => {
    await page.getByText('there is a usage, but no price for it').first().waitFor();
    await tabTo(page, 'link', 'Set a price');
    await press(page, 'Enter');
    await page.getByRole('button', { name: 'Set a price for house-model-7' }).waitFor();
    await tabTo(page, 'button', 'Set a price for house-model-7');
    await press(page, 'Enter');
    await page.keyboard.type('100');
    await tabTo(page, 'textbox', /^Output/);
    await page.keyboard.type('200');
    await press(page, 'Enter');
    await page.getByText('priced from now on').waitFor();
    const priced = await request(unknown);
    await page.goto(`${isango.admin}/requests/${priced.id}?tab=cost`);
    await page.getByText('the provider’s usage times its price').first().waitFor();
  });
});

test('what was recorded without a price is priced again, once it was looked at', async () => {
  const unknown = { path: 'openai/chat/completions', headers: { authorization: 'Bearer any' }, body: { model: 'house-model-8' } };
  const { id } = await request(unknown);
  await on({ path: '/control/prices' }, async ({ page }) => {
    await begin(page);
    await page.keyboard.type('openai');
    await press(page, 'Tab');
    await page.keyboard.type('house-model-8');
    await tabTo(page, 'textbox', /^Input/);
    await page.keyboard.type('100');
    await tabTo(page, 'textbox', /^Output/);
    await page.keyboard.type('200');
    await press(page, 'Enter');
    await page.getByRole('region', { name: 'Prices of your own' }).getByText('house-model-8').waitFor();
    await tabTo(page, 'textbox', /^Which/);
    await press(page, 'Control+a');
    await page.keyboard.type('cost:unpriced model:house-model-8');
    await tabTo(page, 'combobox', /^By the prices/);
    await page.keyboard.type('of now');
    await press(page, 'Tab', 'Enter');
    await page.getByText('would cost something else').waitFor();
    await tabTo(page, 'button', 'Price 1 record again');
    await press(page, 'Enter');
    await page.getByText('cost something else now').waitFor();
    await page.goto(`${isango.admin}/requests/${id}?tab=cost`);
    await page.getByText('the provider’s usage times its price').first().waitFor();
  });
});

test('an alert is tested, and kept quiet for a while', () =>
  on({ path: '/control/alerts' }, async ({ page }) => {
    const alert = page.getByRole('region', { name: 'Alert failing' });
    await alert.getByText('5% or more of the requests').waitFor();
    await tabTo(page, 'button', 'Test failing');
    await press(page, 'Enter');
    await alert.getByText('the test arrived').waitFor();
    assert.ok(isango.hooks.taken.some((one) => one.path === '/failing'));
    await tabTo(page, 'button', 'Keep quiet: failing');
    await press(page, 'Enter');
    await alert.getByText('kept quiet').waitFor();
    await tabTo(page, 'button', 'Let it speak: failing');
    await press(page, 'Enter');
    await alert.getByText('watches').waitFor();
    assert.equal((await page.content()).includes(isango.hooks.address), false);
  }));

test('what the store takes is told, with what is free', () =>
  on({ path: '/settings/storage' }, async ({ page }) => {
    await page.getByRole('region', { name: 'Room' }).getByText(/are taken by \d+ records, .* are free/).waitFor();
    await page.getByRole('rowheader', { name: 'Journal' }).waitFor();
  }));

test('what was redacted is told by its rule, and is not there', async () => {
  const { id } = await request({ body: { messages: [{ role: 'user', content: 'My card is 4111 1111 1111 1111, write to ada@example.com.' }] } });
  await on({ path: `/requests/${id}` }, async ({ page }) => {
    await page.getByText(/\d values were taken out/).waitFor();
    assert.deepEqual(await page.locator('li.user .redacted').allTextContents(), ['redacted card', 'redacted email']);
    assert.equal((await page.content()).includes('4111'), false);
  });
});

test('who did what is on the trail, and opened', () =>
  on({ path: '/settings/trail' }, async ({ page }) => {
    await page.getByRole('table').waitFor();
    await press(page, '/');
    await page.keyboard.type('user ada');
    await tabTo(page, 'combobox', 'What was done');
    await page.keyboard.type('delete');
    await page.getByRole('row', { name: /delete export/ }).waitFor();
    await tabTo(page, 'link', /^Diff of entry/);
    await press(page, 'Enter');
    await page.getByText(/^link [0-9a-f]{64}$/).waitFor();
    assert.equal((await page.content()).includes('planted-secret'), false);
  }));
