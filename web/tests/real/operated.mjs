// Isango as its operator configures it: secrets, redaction, alerts and exports, with a simulated
// provider behind it and a receiver for what it sends.

import { createServer } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serve, simulate } from './isango.mjs';

/** Takes what is sent, and keeps it. */
async function receiver() {
  const taken = [];
  const server = createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part)).on('end', () => {
      taken.push({ path: request.url, headers: request.headers, bytes: Buffer.concat(parts) });
      response.end();
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { taken, address: `http://127.0.0.1:${server.address().port}`, close: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }) };
}

const configuration = (simulator, hooks) => `
[secrets]
key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
[logpush]
allow_private = true
[providers.azure-openai]
base_url = "${simulator}/azure/{resource}"
[providers.openai]
base_url = "${simulator}/v1"

[[gateways]]
id = "support"
[[gateways.redact]]
detect = ["card", "email"]
[[gateways.limits]]
id = "monthly-spend"
unit = "cost"
limit = 0.002
window = "month"
on_exceeded = "warn"
alerts = [{ at = 0.8, webhook = "${hooks}/spend", format = "json", secret = "not-a-real-one-either", allow_private = true }]
[[gateways.alerts]]
id = "failing"
on = "error_rate"
at = 0.05
window = "5m"
min_requests = 20
webhook = "${hooks}/failing"
format = "slack"
allow_private = true
`;

/** Starts it, and all that it needs. */
export async function operated() {
  const folder = mkdtempSync(join(tmpdir(), 'isango-operated-'));
  const [hooks, simulator] = [await receiver(), await simulate()];
  const isango = await serve(folder, configuration(simulator.address, hooks.address));
  return { ...isango, hooks, stop: async () => { await isango.stop(); await simulator.stop(); await hooks.close(); rmSync(folder, { recursive: true }); } };
}
