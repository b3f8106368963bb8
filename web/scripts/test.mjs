// Unit tests: the modules that they test are TypeScript, so Vite bundles them for Node first.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { build } from 'vite';

const tests = readdirSync('tests/unit').filter((name) => name.endsWith('.test.ts'));
const folder = mkdtempSync(join(tmpdir(), 'isango-web-'));
try {
  const input = Object.fromEntries(tests.map((name) => [basename(name, '.ts'), join('tests/unit', name)]));
  await build({
    logLevel: 'warn',
    publicDir: false,
    build: { ssr: true, outDir: folder, emptyOutDir: false, rolldownOptions: { input, output: { entryFileNames: '[name].mjs' } } },
  });
  const files = tests.map((name) => join(folder, `${basename(name, '.ts')}.mjs`));
  process.exitCode = spawnSync(process.execPath, ['--test', ...files], { stdio: 'inherit' }).status ?? 1;
} finally {
  rmSync(folder, { recursive: true });
}
