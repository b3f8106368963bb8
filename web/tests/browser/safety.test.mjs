// What comes from outside stays text, nobody looks in without signing in, and size is no reason to
// stall.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { XSS } from '../fake/records.mjs';
import { close, row, visit } from './harness.mjs';

after(close);

test('markup in prompts, answers, model names and metadata stays text', () =>
  visit({ path: '/requests?from=now-24h' }, async ({ page, server, origin }) => {
    await page.locator(row(1)).waitFor();
    const hostile = server.rows.find((one) => one.metadata.note === XSS && one.provider === 'azure-openai' && one.status === 200);
    for (const tab of ['', '&tab=timeline', '&tab=cost', '&tab=policy', '&tab=raw']) {
      await page.goto(`${origin}/requests/${hostile.id}?from=now-24h${tab}&cols=time,model,meta.note`);
      await page.locator('[role=tabpanel] *').first().waitFor();
      await page.waitForLoadState('networkidle');
      assert.ok((await page.locator('body').innerText()).includes('<img src=x onerror='), tab);
      assert.equal(await page.evaluate(() => globalThis.owned), undefined);
      assert.equal(await page.locator('aside img, aside script, [role=grid] img').count(), 0);
    }
    await page.goto(`${origin}/requests?from=now-24h&q=${encodeURIComponent(`"${XSS.replaceAll('"', '\\"')}"`)}`);
    await page.locator('.chip').waitFor();
    await page.goto(`${origin}/performance?from=now-24h`);
    await page.locator('.u-wrap').first().waitFor();
    assert.equal(await page.evaluate(() => globalThis.owned), undefined);
  }));

test('the address is no way in for markup either', () =>
  visit({ path: `/requests?q=${encodeURIComponent(XSS)}&cols=${encodeURIComponent(XSS)}&from=${encodeURIComponent(XSS)}&gw=${encodeURIComponent('local/support')}` }, async ({ page }) => {
    await page.locator('.query').waitFor();
    await page.waitForLoadState('networkidle');
    assert.equal(await page.evaluate(() => globalThis.owned), undefined);
    assert.equal(await page.locator('main img').count(), 0);
  }));

test('nobody sees anything without signing in', () =>
  visit({ path: '/requests?q=status:error', api: { signedIn: false } }, async ({ page, server }) => {
    await page.getByRole('textbox', { name: 'Name' }).fill('owner');
    await page.getByLabel('Password').fill('wrong');
    await page.keyboard.press('Enter');
    await page.getByText('do not go together').waitFor();
    assert.ok(server.state.asked.every((call) => /setup|session/.test(call)), server.state.asked.join());
    await page.getByLabel('Password').fill('correct horse battery');
    await page.keyboard.press('Enter');
    await page.locator('.query').waitFor();
    assert.match(page.url(), /q=status:error/);
    server.state.signedIn = false;
    await page.keyboard.press('Escape');
    await page.getByRole('link', { name: 'Costs' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  }));

test('the first owner is made with the code of the link, and is led on', () =>
  visit({ path: '/#code=right', api: { signedIn: false, setup: true, records: 'none' } }, async ({ page }) => {
    await page.getByRole('textbox', { name: 'Name' }).fill('owner');
    await page.getByLabel('Password').fill('short');
    assert.equal(await page.getByRole('button', { name: 'Become the owner' }).isDisabled(), true);
    await page.getByLabel('Password').fill('correct horse battery');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Change one URL' }).waitFor();
    assert.equal(new URL(page.url()).search, '');
  }));

test('the link of the setup works where the page stands already', () =>
  visit({ path: '/', api: { signedIn: false, setup: true, records: 'none' } }, async ({ page, origin }) => {
    await page.getByText('has no owner yet').waitFor();
    await page.goto(`${origin}/#code=right`);
    await page.getByRole('heading', { name: 'Who owns this gateway?' }).waitFor();
  }));

test('who was invited chooses a password and is in, and can change it', () =>
  visit({ path: '/#code=invited', api: { signedIn: false } }, async ({ page, server }) => {
    await page.getByRole('heading', { name: 'Welcome, grace' }).waitFor();
    await page.getByLabel('Password').fill('correct horse battery');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Requests' }).waitFor();
    assert.equal(new URL(page.url()).search, '');
    await page.goto(new URL('/settings/you', page.url()).href);
    await page.getByLabel('The one that you have').fill('wrong');
    await page.getByLabel(/^Another one/).fill('another horse battery');
    await page.keyboard.press('Enter');
    await page.getByText('The current password is another one').waitFor();
    await page.getByLabel('The one that you have').fill('correct horse battery');
    await page.keyboard.press('Enter');
    await page.getByText('every other session of yours is over').waitFor();
    await page.getByRole('button', { name: 'Sign out everywhere' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    assert.equal(server.state.signedIn, false);
  }));

test('a prompt of five megabytes opens without a stall', () =>
  visit({ path: '/requests' }, async ({ page, server, origin }) => {
    const made = server.happen({ _huge: true, provider: 'azure-openai', status: 200, outcome: 'answered' });
    await page.goto(`${origin}/requests/${made.id}`);
    await page.getByRole('button', { name: /^Show all \d/ }).waitFor();
    await page.evaluate(() => {
      globalThis.longest = 0;
      const watch = new PerformanceObserver((list) => { for (const entry of list.getEntries()) globalThis.longest = Math.max(globalThis.longest, entry.duration); });
      watch.observe({ type: 'longtask' });
    });
    await page.getByRole('button', { name: /^Show all \d/ }).click();
    await page.locator('.piece').nth(200).waitFor({ state: 'attached' });
    const panel = page.locator('[role=tabpanel]');
    for (let n = 0; n < 10; n += 1) await panel.evaluate((box) => { box.scrollTop += 40_000; });
    const longest = await page.evaluate(() => new Promise((done) => setTimeout(() => done(globalThis.longest), 300)));
    assert.ok(longest < 1_000, `the page stood still for ${longest} ms`);
    await page.keyboard.press('2');
    await page.getByText('The gateway added').waitFor();
  }));

test('a long list is drawn in part, read on as it is scrolled, and stays small', () =>
  visit({ path: '/requests', api: { records: 8_000 } }, async ({ page, server }) => {
    await page.locator(row(1)).waitFor();
    const table = page.getByRole('grid', { name: 'Requests' });
    for (let n = 0; n < 14; n += 1) {
      const before = await table.getAttribute('aria-rowcount');
      await table.evaluate((box) => { box.scrollTop = box.scrollHeight; });
      await page.waitForFunction((count) => document.querySelector('[role=grid]').getAttribute('aria-rowcount') !== count, before);
    }
    assert.ok(Number(await table.getAttribute('aria-rowcount')) > 1_200);
    assert.ok((await page.locator('.body [role=row]').count()) < 80);
    await table.evaluate((box) => { box.scrollTop = 0; });
    const first = await page.locator(row(1)).locator('[data-column=time]').innerText();
    assert.equal(first, new Date(server.rows[0].created_at).toTimeString().slice(0, 8));
  }));

test('an API that fails, or is gone, is said in words, and asked again on request', () =>
  visit({ path: '/requests' }, async ({ page }) => {
    await page.locator(row(1)).waitFor();
    await page.route('**/isango/requests?**', (route) => route.abort());
    await page.getByRole('button', { name: 'Views' }).click();
    await page.getByRole('link', { name: /^Slow first token/ }).click();
    await page.getByText('Isango does not answer').waitFor();
    await page.unroute('**/isango/requests?**');
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('Isango does not answer').waitFor({ state: 'detached' });
  }));
