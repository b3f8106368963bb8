// Writes `src/api/described.ts`: the types of the management API, from its checked-in description.
// With `--check` nothing is written; it fails where the file is not that of the description.

import { readFileSync, writeFileSync } from 'node:fs';

const FROM = '../crates/control/openapi.json';
const TO = 'src/api/described.ts';

const { components } = JSON.parse(readFileSync(FROM, 'utf8'));

const member = (name) => (/^[A-Za-z_]\w*$/.test(name) ? name : `'${name}'`);
const indented = (text) => text.replaceAll('\n', '\n  ');
const about = (text) => (text ? `/** ${text.trim().replaceAll('*/', '*\\/').replaceAll('\n', ' ')} */\n` : '');

/** The type that a schema describes. */
function type(schema) {
  if (schema.$ref) return schema.$ref.split('/').at(-1);
  if (schema.enum) return schema.enum.map((one) => (one === null ? 'null' : `'${one}'`)).join(' | ');
  for (const [kind, sign] of [['oneOf', ' | '], ['anyOf', ' | '], ['allOf', ' & ']]) {
    if (schema[kind]) return schema[kind].map((one) => wrapped(type(one))).join(sign);
  }
  const kinds = [schema.type ?? 'unknown'].flat();
  return kinds.map((kind) => plain(kind, schema)).join(' | ');
}

const wrapped = (text) => (text.includes(' | ') || text.includes(' & ') ? `(${text})` : text);

function plain(kind, schema) {
  switch (kind) {
    case 'integer': return 'number';
    case 'array': return `${wrapped(type(schema.items ?? {}))}[]`;
    case 'object': return schema.properties ? members(schema) : `Record<string, ${typeof schema.additionalProperties === 'object' ? type(schema.additionalProperties) : 'unknown'}>`;
    default: return kind;
  }
}

function members({ properties, required = [] }) {
  const lines = Object.entries(properties).map(([name, one]) => {
    const sign = required.includes(name) ? '' : '?';
    return `${indented(about(one.description))}${member(name)}${sign}: ${indented(type(one))};`;
  });
  return lines.length === 0 ? 'Record<string, never>' : `{\n  ${lines.join('\n  ').replaceAll('*/\n', '*/\n')}\n}`;
}

/** Envelopes are undone by `client.ts`. */
const wanted = Object.entries(components.schemas).filter(([name]) => !name.startsWith('Envelope_'));
const text = [
  '/** The types of the management API: made from its description by `npm run types`, not by hand. */',
  ...wanted.map(([name, schema]) => `${about(schema.description)}export type ${name} = ${type(schema)};`),
].join('\n\n') + '\n';

if (!process.argv.includes('--check')) writeFileSync(TO, text);
else if (readFileSync(TO, 'utf8') !== text) {
  console.error(`${TO} is not that of ${FROM}: run \`npm run types\``);
  process.exitCode = 1;
}
