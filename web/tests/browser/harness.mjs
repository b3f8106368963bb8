// A browser on the built dashboard, with an API or a stand-in of it behind it. Whatever happens, a page
// must not complain on its console, must not break its policy, and must not ask any other origin.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { fake } from '../fake/server.mjs';

const CHROMIUM = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => path && existsSync(path));
if (!CHROMIUM) throw new Error('no Chromium is installed; name one in CHROMIUM');

const launched = chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu', '--font-render-hinting=none'] });

/** Opens a page of an origin; `use` gets it. What the page must never do is checked when `use` has ended. */
export async function opened({ origin, path = '/', state, theme = 'light', width = 1440, height = 900, reducedMotion = 'reduce', ...more }, use) {
  const browser = await launched;
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion, deviceScaleFactor: 1, permissions: ['clipboard-read', 'clipboard-write'], ...(state && { storageState: state }) });
  // A busy machine is no failure.
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => {
    // A refused call is logged by the browser itself.
    const isExpected = message.type() !== 'error' || /status of (40[0134]|412|429)|net::ERR_FAILED/.test(message.text());
    if (!isExpected) faults.push(message.text());
  });
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith('data:')) faults.push(`asked ${request.url()}`);
  });
  try {
    await page.goto(origin + path);
    await use({ page, context, origin, ...more });
    assert.deepEqual(faults, [], 'the page must not complain, nor ask another origin');
  } finally {
    await context.close();
  }
}

/** The same with the stand-in of the API behind it. */
export async function visit({ api = {}, ...options }, use) {
  const server = fake(api);
  try {
    await opened({ ...options, origin: await server.listen(), server }, use);
  } finally {
    await server.close();
  }
}

/** The n-th row of the table, from 1. */
export const row = (n) => `.body [role=row][aria-rowindex="${n + 1}"]:has([data-column] *)`;

export const close = async () => (await launched).close();
