// What people come for, each by keyboard alone where a keyboard can do it.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { close, row, visit } from './harness.mjs';

after(close);

const DAY = '/requests?from=now-24h';
const shown = (page) => page.locator('.overview strong').innerText().then((text) => Number(text.replaceAll(',', '')));

test('an error is found and its cause read, by keyboard alone', () =>
  visit({ path: '/?from=now-24h' }, async ({ page }) => {
    await page.locator('.tile').first().waitFor();
    await page.keyboard.press('g');
    await page.keyboard.press('r');
    await page.locator(row(1)).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('status:error ');
    await page.keyboard.type('outcome:answered');
    await page.keyboard.press('Enter');
    await page.waitForURL(/q=status:error\+outcome:answered/);
    await page.locator('[role=gridcell] .upstream').first().waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.locator('.failure', { hasText: 'the provider answered 503: server_overloaded' }).waitFor();
    await page.keyboard.press('2');
    await page.getByText('Attempt 1').first().waitFor();
    assert.match(page.url(), /\/requests\/[0-9a-f-]{36}\?.*tab=timeline/);
    const first = page.url();
    await page.keyboard.press('j');
    await page.waitForFunction((before) => location.href !== before, first);
    await page.keyboard.press('Escape');
    await page.locator('aside').waitFor({ state: 'detached' });
    assert.match(page.url(), /\/requests\?/);
  }));

test('an address shows the same rows after it is loaded anew, and the way back leads back', () =>
  visit({ path: `${DAY}&q=meta.tenantId:acme+status:ok&sort=cost` }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    const rows = () => page.locator('.body [role=row]').allInnerTexts();
    const before = await rows();
    await page.reload();
    await page.locator(row(1)).waitFor();
    assert.deepEqual(await rows(), before);
    await page.locator(row(3)).click();
    await page.locator('[role=tabpanel] li').first().waitFor();
    await page.goBack();
    await page.locator('aside').waitFor({ state: 'detached' });
    assert.deepEqual(await rows(), before);
  }));

test('the sum of a chart is the sum of the table that it opens', () =>
  visit({ path: '/costs?from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z' }, async ({ page, server }) => {
    const bars = page.locator('ol[aria-label="By meta.tenantId"] li');
    await bars.first().waitFor();
    const names = await bars.locator('.name').allInnerTexts();
    assert.deepEqual(names.toSorted(), ['acme', 'globex', 'initech', 'umbrella']);
    let sum = 0;
    for (const name of names) {
      await page.locator('ol[aria-label="By meta.tenantId"]').getByText(name, { exact: true }).click();
      await page.locator(row(1)).waitFor();
      await page.waitForFunction((tenant) => document.querySelector('.chips')?.textContent.includes(tenant), name);
      await page.waitForLoadState('networkidle');
      const legend = await page.locator('.legend b').allInnerTexts();
      const total = await shown(page);
      assert.equal(legend.reduce((all, text) => all + Number(text.replaceAll(',', '')), 0), total);
      assert.equal(total, server.rows.filter((one) => one.metadata.tenantId === name).length);
      sum += total;
      await page.goBack();
      await bars.first().waitFor();
    }
    assert.equal(sum, server.rows.length);
  }));

test('a drag over the histogram looks at that stretch of time', () =>
  visit({ path: DAY }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    const all = await shown(page);
    const box = await page.locator('.histogram svg').boundingBox();
    await page.mouse.move(box.x + box.width * 0.4, box.y + 30);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.5, box.y + 30, { steps: 4 });
    await page.mouse.up();
    await page.waitForURL(/from=\d{4}-.*to=\d{4}-/);
    await page.waitForFunction((before) => document.querySelector('.overview strong')?.textContent.replaceAll(',', '') !== String(before), all);
    assert.ok((await shown(page)) < all / 3);
    await page.goBack();
    // Time went on meanwhile: a few of the oldest may have left the last 24 hours.
    await page.waitForFunction((before) => Math.abs(Number(document.querySelector('.overview strong')?.textContent.replaceAll(',', '')) - before) < 20, all);
  }));

test('requests arrive live, wait while the reader points at the list, and then come in', () =>
  visit({ path: '/requests?live=1' }, async ({ page, server }) => {
    await page.locator(row(1)).waitFor();
    await page.waitForFunction(() => document.querySelector('.dot.on'));
    const made = server.happen({ model_requested: 'the-first-live-one', model: undefined });
    await page.locator(row(1)).getByText('the-first-live-one').waitFor();
    await page.locator(row(4)).hover();
    server.happen({ model_requested: 'while-pointing', model: undefined });
    await page.getByRole('button', { name: '1 new' }).waitFor();
    assert.equal(await page.locator(row(1)).getByText('the-first-live-one').count(), 1);
    await page.getByRole('button', { name: '1 new' }).click();
    await page.locator(row(1)).getByText('while-pointing').waitFor();
    await page.goto(page.url().replace('/requests?', `/requests/${made.id}?`));
    await page.getByRole('heading', { name: 'the-first-live-one' }).waitFor();
  }));

test('values are suggested with their counts, and a chip goes back into the field', () =>
  visit({ path: DAY }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('prov');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.locator('#suggestions .amount').first().waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.waitForURL(/q=provider:azure-openai/);
    await page.keyboard.press('Backspace');
    await page.waitForURL((url) => !url.searchParams.has('q'));
    assert.equal(await page.getByRole('combobox', { name: 'Filter the requests' }).inputValue(), 'provider:azure-openai');
  }));

test("Cloudflare's filters are understood", () =>
  visit({ path: DAY }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('success:false');
    await page.keyboard.press('Enter');
    await page.waitForURL(/q=status:error/);
  }));

test('the first request of an application appears by itself', () =>
  visit({ path: '/connect', api: { records: 'none' } }, async ({ page, server }) => {
    await page.getByText('Waiting for the first request through default').waitFor();
    server.happen({ gateway: 'support' });
    const made = server.happen({ gateway: 'default' });
    await page.getByText('It works').waitFor();
    await page.getByRole('link', { name: 'See this request' }).click();
    await page.waitForURL(new RegExp(made.id));
    await page.getByRole('tab', { name: 'Conversation' }).waitFor();
  }));

test('a view is kept, and found again', () =>
  visit({ path: `${DAY}&q=status:error` }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    await page.getByRole('button', { name: 'Views' }).click();
    await page.getByRole('textbox', { name: 'Name of the view' }).fill('My errors');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'My errors' }).waitFor();
    await page.goto(new URL('/requests', page.url()).href);
    await page.getByRole('button', { name: 'Views' }).click();
    await page.getByRole('link', { name: 'My errors' }).click();
    await page.waitForURL(/q=status:error/);
  }));

test('the palette opens a request by its id, and pages by their names', () =>
  visit({ path: '/?from=now-24h' }, async ({ page, server }) => {
    await page.locator('.tile').first().waitFor();
    const { id } = server.rows[7];
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox', { name: 'Find' }).waitFor();
    await page.keyboard.insertText(id);
    await page.keyboard.press('Enter');
    await page.waitForURL(new RegExp(`/requests/${id}`));
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox', { name: 'Find' }).waitFor();
    await page.keyboard.type('perf');
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/performance/);
    assert.match(page.url(), /from=now-24h/);
  }));

test('columns are chosen, ordered and sized, and stand in the address', () =>
  visit({ path: `${DAY}&cols=time,cost:140,meta.userId,model` }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    const heads = () => page.getByRole('columnheader').allInnerTexts();
    assert.deepEqual((await heads()).map((text) => text.trim()), ['Time ↓', 'Cost', 'userId', 'Model']);
    await page.getByRole('button', { name: 'Columns' }).click();
    await page.getByRole('button', { name: 'Move Model to the left' }).click();
    await page.waitForURL(/cols=time,cost:140,model,meta.userId/);
    await page.getByRole('checkbox', { name: 'Cost' }).uncheck();
    await page.waitForURL(/cols=time,model,meta.userId/);
  }));

test('two requests are compared line by line', () =>
  visit({ path: DAY }, async ({ page, server }) => {
    await page.locator(row(1)).waitFor();
    const [one, other] = server.rows.filter((row) => row.provider === 'anthropic' && row.status === 200 && row.cache !== 'hit');
    await page.goto(`${new URL(page.url()).origin}/requests/${one.id}?from=now-24h`);
    await page.getByRole('tab', { name: 'Raw' }).waitFor();
    await page.keyboard.press('m');
    await page.waitForURL(new RegExp(`with=${one.id}`));
    await page.goto(page.url().replace(`/requests/${one.id}`, `/requests/${other.id}`));
    await page.getByRole('tab', { name: 'Compare' }).click();
    await page.locator('.diff .left').first().waitFor();
    assert.match(await page.locator('.diff').last().innerText(), new RegExp(other.provider_id ?? 'chatcmpl'));
  }));

test('a link in an opened request is followed by Enter, and Enter opens the row that j went to', () =>
  visit({ path: '/requests?from=now-24h' }, async ({ page, server, origin }) => {
    const one = server.rows.find((row) => row.cost.status === 'unpriced');
    await page.goto(`${origin}/requests/${one.id}?from=now-24h&tab=cost`);
    await page.getByRole('link', { name: 'Set a price' }).focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(/control\/prices/);
    await page.goto(`${origin}/requests?from=now-24h`);
    await page.locator(row(1)).waitFor();
    await page.getByRole('button', { name: 'Views' }).focus();
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.waitForURL(new RegExp(`/requests/${server.rows[0].id}`));
  }));
