// What a browser loads before it shows a page, compressed; fails where that is more than promised.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const KIB = 1_024;
const FIRST = 150 * KIB;
const ALL = 250 * KIB;

const sizes = new Map(
  readdirSync('dist/assets').map((name) => [name, gzipSync(readFileSync(join('dist/assets', name)), { level: 9 }).length]),
);
const text = readFileSync('dist/index.html', 'utf8');

/** What a file asks for by itself, and what these ask for. */
function closure(names, seen = new Set()) {
  for (const name of names) {
    if (seen.has(name)) continue;
    seen.add(name);
    if (!name.endsWith('.js')) continue;
    const code = readFileSync(join('dist/assets', name), 'utf8');
    const imports = [...code.matchAll(/(?:from|import)\s*["']\.\/([^"']+)["']/g)].map(([, file]) => file);
    closure(imports, seen);
  }
  return seen;
}

const entry = closure([...text.matchAll(/assets\/([^"]+)/g)].map(([, name]) => name));
const total = (names) => [...names].reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
const parts = (folder) => [...sizes.keys()].filter((name) => name.endsWith('.js') && existsSync(join('src/pages', folder, name.replace(/\d*\.js$/, '.svelte')))).map((name) => name.replace('.js', ''));
const pages = ['Home', 'Requests', 'Costs', 'Performance', 'Connect', 'Login'].map((page) => [page]);
// A part of one of these comes with its page.
for (const [page, folder] of [['Control', 'control'], ['Settings', 'settings']]) {
  for (const part of parts(folder)) if (part !== page) pages.push([page, part]);
}
let failed = /<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=/.test(text);
if (failed) console.error('index.html has something inline, which the policy forbids');
for (const page of pages) {
  const styles = [...sizes.keys()].filter((name) => name.endsWith('.css'));
  const size = total(closure([...entry, ...page.map((name) => `${name}.js`), ...styles]));
  console.log(`${page.join(', ').padEnd(22)} ${(size / KIB).toFixed(1)} KiB`);
  if (size > FIRST) failed = true;
}
const all = total(sizes.keys());
console.log(`${'everything'.padEnd(22)} ${(all / KIB).toFixed(1)} KiB`);
if (failed || all > ALL) {
  console.error(`a page may load ${FIRST / KIB} KiB at first, everything may be ${ALL / KIB} KiB`);
  process.exitCode = 1;
}
