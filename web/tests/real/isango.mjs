// A real Isango with simulated providers and a while of traffic (`isango demo`), and a browser that
// is signed in to its dashboard. Nothing leaves this machine, and no page may ask another origin.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { opened } from '../browser/harness.mjs';
import { front } from './front.mjs';

const BINARY = process.env.ISANGO ?? fileURLToPath(new URL('../../../target/debug/isango', import.meta.url));
export const OWNER = { name: 'ada', password: 'correct horse battery' };

/** Where its pages are: in the binary, or with ISANGO_DIST in `web/dist`. */
const shown = (admin) => (process.env.ISANGO_DIST ? front(admin) : { address: admin, close: async () => {} });

/** Runs it until it is stopped; `where` tells its commands what they are about. */
function running(args, where, listeners = ['--listen', '--admin-listen']) {
  if (!existsSync(BINARY)) throw new Error(`there is no ${BINARY}: build it, or name one in ISANGO`);
  const free = listeners.flatMap((name) => [name, '127.0.0.1:0']);
  const child = spawn(BINARY, [...args, '--json', ...free], { stdio: ['ignore', 'pipe', 'inherit'] });
  const events = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const run = (...args) => {
    const { stdout, stderr, status } = spawnSync(BINARY, [...args, ...where], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  return {
    run,
    next: async () => JSON.parse((await events.next()).value),
    stop: () => new Promise((done) => { child.once('exit', done); child.kill('SIGINT'); }),
  };
}

/** Starts it; `seconds` of traffic at `rate` have passed when it is there. */
export async function start({ seconds = 8, rate = 25 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'isango-real-'));
  const { run, next, stop } = running(['demo', '--data-dir', folder, '--seconds', String(seconds), '--rate', String(rate), '--simulator', '127.0.0.1:0'], ['--data-dir', folder]);
  const { data, admin } = await next();
  await next();
  const pages = await shown(admin);
  return { data, admin: pages.address, run, stop: async () => { await pages.close(); await stop(); rmSync(folder, { recursive: true }); } };
}

/** Serves what a folder has, which stays. `config` goes before the usual one. */
export async function serve(folder, config = '') {
  const file = join(mkdtempSync(join(tmpdir(), 'isango-real-')), 'isango.toml');
  writeFileSync(file, `data_dir = ${JSON.stringify(folder)}\n${config}`);
  const { run, next, stop } = running(['serve', '--config', file], ['--config', file]);
  const { data, admin } = await next();
  const whole = (address) => (address.startsWith('http') ? address : `http://${address}`);
  const pages = await shown(whole(admin));
  return { data: whole(data), admin: pages.address, run, stop: async () => { await pages.close(); await stop(); rmSync(dirname(file), { recursive: true }); } };
}

/** Providers that are simulated, and answer at once. */
export async function simulate() {
  const { next, stop } = running(['simulate', '--pace', '0', '--ttft', '0s'], [], ['--listen']);
  return { address: (await next()).url, stop };
}

/** Somebody becomes the owner by the link of the setup, as on the first day. */
export async function setUp(page, isango) {
  const link = /http\S+\/#code=\S+/.exec(isango.run('setup-link'))?.[0] ?? '';
  await page.goto(`${isango.admin}/${new URL(link).hash}`);
  await page.reload();
  await page.getByRole('textbox', { name: 'Name' }).fill(OWNER.name);
  await page.getByLabel('Password').fill(OWNER.password);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Change one URL' }).waitFor();
}

/** A page of somebody who is signed in; `use` gets it. */
export async function visit(isango, state, { path = '/', ...options }, use) {
  await opened({ origin: isango.admin, path, state, ...options }, use);
}

const AZURE = 'azure-openai/aoai-demo-sa/chat/chat/completions?api-version=2024-10-21';

/** One request of an application; the answer has been read. */
export async function ask(isango, { gateway = 'support', path = AZURE, headers = {}, body = {}, metadata = { tenantId: 'acme' } } = {}) {
  const answer = await fetch(`${isango.data}/v1/local/${gateway}/${path}`, {
    method: 'POST',
    headers: { 'api-key': 'any', 'content-type': 'application/json', 'cf-aig-metadata': JSON.stringify(metadata), 'x-sim-pace': '0', 'x-sim-ttft-ms': '5', ...headers },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Where is my order 48211?' }], ...body }),
  });
  return { status: answer.status, id: answer.headers.get('cf-aig-log-id'), cache: answer.headers.get('cf-aig-cache-status'), text: await answer.text() };
}

/** Keys, one after another. */
export async function press(page, ...keys) {
  for (const key of keys) await page.keyboard.press(key);
}

/** Presses the key for something new until one can write: a page may be seen before it listens. */
export async function begin(page) {
  const canWrite = () => /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? '');
  for (let n = 0; n < 20; n += 1) {
    await page.keyboard.press('n');
    if (await page.waitForFunction(canWrite, null, { timeout: 500 }).then(() => true, () => false)) return;
  }
  throw new Error('nothing to write in came for the key n');
}

/** Moves the focus on until it is on what has this name. */
export async function tabTo(page, role, name) {
  const wanted = page.getByRole(role, { name }).first();
  for (let n = 0; n < 90; n += 1) {
    const isThere = (await wanted.count()) > 0;
    if (isThere && (await wanted.evaluate((one) => one === document.activeElement, null, { timeout: 2_000 }).catch(() => false))) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`the focus never came to ${name}`);
}
