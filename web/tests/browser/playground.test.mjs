// Prompts to several targets at once, and requests that are tried again.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { close, row, visit } from './harness.mjs';

after(close);

test('a prompt goes to two targets, whose answers come side by side with their cost', () =>
  visit({ path: '/playground?gw=local/support' }, async ({ page, server }) => {
    await page.locator('#ways option').first().waitFor({ state: 'attached' });
    await page.getByRole('button', { name: 'One target more' }).click();
    const [first, second] = [1, 2].map((n) => page.getByRole('region', { name: `Target ${n}` }));
    await second.getByLabel('Provider and path').fill('anthropic/v1/messages');
    await second.getByLabel('Model').fill('claude-sonnet-4-5');
    await page.getByLabel('Prompt', { exact: true }).fill('Hello');
    await page.keyboard.press('Control+Enter');
    await second.getByText('this is claude-sonnet-4-5').waitFor();
    await first.getByText('Sawubona').waitFor();
    for (const lane of [first, second]) await lane.locator('dl').getByText('Cost').waitFor();
    assert.equal(server.state.asked.filter((one) => one.endsWith('/try')).length, 2);
    assert.equal(await page.evaluate(() => globalThis.owned), undefined);
    assert.equal(await page.locator('.lane img').count(), 0);
  }));

test('a refusal is told in the words of the gateway, and signs nobody out', () =>
  visit({ path: '/playground?gw=local/support' }, async ({ page }) => {
    await page.getByLabel('Provider and path').fill('openai/chat/completions');
    await page.getByLabel('Model').fill('refused');
    await page.getByLabel('Prompt', { exact: true }).fill('Hello');
    await page.keyboard.press('Control+Enter');
    await page.getByText('limit tenant-daily has no room').waitFor();
  }));

test('a request is tried again from its drawer, by keyboard alone', () =>
  visit({ path: '/requests?from=now-24h&q=provider:anthropic+status:ok' }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.locator('[role=tabpanel] li').first().waitFor();
    await page.keyboard.press('r');
    await page.waitForURL(/\/playground\?.*of=/);
    await page.getByText('for each target now').waitFor();
    assert.match(await page.getByLabel('Provider and path').inputValue(), /^anthropic\/v1\/messages/);
    assert.match(await page.getByLabel('Body').inputValue(), /"max_tokens": 1024/);
    await page.keyboard.press('Control+Enter');
    await page.getByText('Sawubona').waitFor();
    await page.getByRole('link', { name: 'its record' }).waitFor();
  }));
