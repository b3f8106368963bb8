// The pages of `web/dist` in front of a running Isango, so that they are tried without building the
// binary anew. What tests are to say of the product, they say of the pages in the binary.

import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { POLICY } from '../fake/server.mjs';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

/** Its address, and how it is closed. */
export async function front(admin) {
  const server = createServer((asked, answer) => {
    if (asked.url.startsWith('/client/')) {
      const passed = request(admin + asked.url, { method: asked.method, headers: asked.headers }, (reply) => {
        answer.writeHead(reply.statusCode, reply.headers);
        reply.pipe(answer);
      });
      passed.on('error', () => answer.destroy());
      answer.on('close', () => passed.destroy());
      return asked.pipe(passed);
    }
    const path = normalize(join(DIST, new URL(asked.url, 'http://here').pathname));
    const chosen = path.startsWith(DIST) && existsSync(path) && statSync(path).isFile() ? path : join(DIST, 'index.html');
    answer.writeHead(200, { 'content-type': TYPES[extname(chosen)] ?? 'application/octet-stream', 'content-security-policy': POLICY });
    return createReadStream(chosen).pipe(answer);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { address: `http://127.0.0.1:${server.address().port}`, close: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }) };
}
