// The calls that Connect shows, run as they are copied from the page, with the released clients. They
// are those of `cargo xtask clients`, below ISANGO_CLIENTS; a client that is not installed is skipped.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { close, opened } from '../browser/harness.mjs';
import { setUp, start, visit } from './isango.mjs';

const CLIENTS = process.env.ISANGO_CLIENTS ?? fileURLToPath(new URL('../../../target/clients', import.meta.url));
const PYTHON = join(CLIENTS, 'venv/bin/python');
const NODE = join(CLIENTS, 'node');
const run = promisify(execFile);
const KEYS = { AZURE_OPENAI_API_KEY: 'any', AZURE_API_KEY: 'any', OPENAI_API_KEY: 'any', ANTHROPIC_API_KEY: 'any' };
const MOST_MS = 120_000;

let isango;
let state;

before(async () => {
  isango = await start({ seconds: 1, rate: 5 });
  await opened({ origin: isango.admin }, async ({ page, context }) => {
    await setUp(page, isango);
    state = await context.storageState();
  });
}, { timeout: 120_000 });
after(async () => {
  await close();
  await isango.stop();
});

const shell = (program, args) => run(program, args, { env: { ...process.env, ...KEYS }, timeout: MOST_MS }).then(({ stdout }) => stdout);
const python = (code) => shell(PYTHON, ['-c', code]);

/** As a module beside its packages. */
async function node(code) {
  const file = join(NODE, `connect-${process.pid}.mjs`);
  writeFileSync(file, code);
  try {
    return await shell(process.execPath, [file]);
  } finally {
    rmSync(file);
  }
}

/** The body of a Worker's handler, with what it has around it. */
const worker = (code) => node(`
const env = { AZURE_OPENAI_KEY: 'any' }, session = { tenantId: 'acme' }, messages = [{ role: 'user', content: 'Hello' }];
async function handler() {
${code}
}
console.log(await (await handler()).text());`);

const hasPython = (name) => async () => existsSync(PYTHON) && (await run(PYTHON, ['-c', `import ${name}`]).then(() => true, () => false));
const hasNode = (name) => async () => existsSync(join(NODE, 'node_modules', name));

const CALLS = {
  curl: [async () => true, (code) => shell('bash', ['-c', code]), /"chat\.completion"/],
  'python-azure': [hasPython('openai'), python, /\w/],
  python: [hasPython('openai'), python, /\w/],
  node: [hasNode('openai'), node, /\w/],
  anthropic: [hasPython('anthropic'), python, /\w/],
  worker: [async () => true, worker, /^data: .*\[DONE\]/s],
  vercel: [hasNode('@ai-sdk/azure'), node, /\w/],
  langchain: [hasPython('langchain_openai'), python, /\w/],
};

for (const [client, [isInstalled, send, answered]] of Object.entries(CALLS)) {
  test(`the call for ${client} is sent as it is shown, and arrives`, async (context) => {
    if (!(await isInstalled())) return context.skip(`its client is not installed in ${CLIENTS}`);
    await visit(isango, state, { path: `/connect?gw=local/default&client=${client}` }, async ({ page }) => {
      await page.getByText('Waiting for the first request through default').waitFor();
      if (await page.getByLabel('Azure resource').count()) await page.getByLabel('Azure resource').fill('aoai-demo-sa');
      await page.getByRole('button', { name: 'Copy the call' }).click();
      const code = await page.evaluate(() => navigator.clipboard.readText());
      assert.equal(code, await page.locator('pre').innerText());
      assert.match(await send(code), answered);
      await page.getByText('It works').waitFor();
      assert.equal(await page.locator('.wait dl dd').first().innerText().then((text) => text.includes('200')), true);
      assert.match(await page.locator('.wait dl').innerText(), /\$0\.\d+/);
    });
  });
}
