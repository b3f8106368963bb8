// Develops the dashboard: Vite in front, and behind it an Isango (`ISANGO_ADMIN=http://…`) or, where
// none is named, the stand-in of the tests, to which a request happens every now and then.

import { createServer } from 'vite';
import { fake } from '../tests/fake/server.mjs';

let target = process.env.ISANGO_ADMIN;
if (!target) {
  const api = fake();
  target = await api.listen();
  setInterval(() => api.happen(), 1_700);
}
const server = await createServer({ server: { proxy: { '/client': { target } } } });
await server.listen();
server.printUrls();
