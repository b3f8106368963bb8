// The list of requests over a store of many records: rows are there before anybody waits for them.
//
// ISANGO_MILLIONS is the generator of records (the example `millions` of the record store), and
// ISANGO_RECORDS how many it makes; or ISANGO_FOLDER is a folder that has been filled. Without either
// nothing is measured.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { close, opened, row } from '../browser/harness.mjs';
import { serve, setUp } from './isango.mjs';

const { ISANGO_MILLIONS: maker, ISANGO_RECORDS: many = '50000', ISANGO_FOLDER: filled } = process.env;
const BUDGET_MS = Number(process.env.ISANGO_BUDGET_MS ?? 150);
const TIMES = 9;

after(close);

/** From the click on the rail to the frame in which the first row is there. */
const toRows = (page) => page.evaluate((first) => new Promise((done) => {
  const begun = performance.now();
  document.querySelector('nav a[href^="/requests"]').click();
  const look = () => (document.querySelector(first) ? requestAnimationFrame(() => done(performance.now() - begun)) : requestAnimationFrame(look));
  look();
}), row(1));

const median = (times) => times.toSorted((a, b) => a - b)[times.length >> 1];

test(`rows of a large store are there within ${BUDGET_MS} ms`, { skip: !maker && !filled && 'neither ISANGO_MILLIONS nor ISANGO_FOLDER is set' }, async () => {
  const folder = filled ?? mkdtempSync(join(tmpdir(), 'isango-millions-'));
  if (!filled) assert.equal(spawnSync(maker, [many, '0', folder], { stdio: ['ignore', 'ignore', 'inherit'] }).status, 0);
  const isango = await serve(folder);
  try {
    await opened({ origin: isango.admin }, async ({ page, origin }) => {
      await setUp(page, isango);
      await page.goto(`${origin}/?from=now-30d`);
      await page.locator('.tile').first().waitFor();
      const moved = [];
      for (let n = 0; n < TIMES; n += 1) {
        moved.push(await toRows(page));
        await page.waitForLoadState('networkidle');
        await page.locator('nav').getByRole('link', { name: 'Connect' }).click();
        await page.getByText('Waiting for the first request').waitFor();
      }
      // A page that is loaded anew, with everything that it needs.
      const loaded = [];
      await page.addInitScript((first) => {
        const look = () => (document.querySelector(first) ? (globalThis.rowsAt = performance.now()) : requestAnimationFrame(look));
        requestAnimationFrame(look);
      }, row(1));
      for (let n = 0; n < TIMES; n += 1) {
        await page.goto(`${origin}/requests?from=now-30d`);
        await page.waitForFunction(() => globalThis.rowsAt);
        loaded.push(await page.evaluate(() => globalThis.rowsAt));
        await page.waitForLoadState('networkidle');
      }
      const told = (times) => `median ${median(times).toFixed(0)} ms, of ${times.map((one) => one.toFixed(0)).join(' ')}`;
      console.log(`to rows within the page: ${told(moved)}; of a page that is loaded: ${told(loaded)}`);
      assert.ok(median(moved) < BUDGET_MS, told(moved));
      assert.ok(median(loaded) < 3 * BUDGET_MS, told(loaded));
    });
  } finally {
    await isango.stop();
    if (!filled) rmSync(folder, { recursive: true });
  }
});
