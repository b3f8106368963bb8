/** The same request once more, as a command for a shell. */

import type { Exchange } from '../../api';

/** In single quotes, of which one inside ends the text, stands by itself, and begins it again. */
const shell = (text: string) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** Through the gateway at `base`; the credential is left to the environment of who runs it. */
export function asCurl(exchange: Exchange, base: string, body: string | null): string {
  const { account, gateway, provider = '', target, resource, path, method } = exchange;
  // A path that leaves the resource out was sent to a target by its name.
  const isWhole = !resource || path.toLowerCase().startsWith(resource.toLowerCase());
  const where = [base, 'v1', account, gateway, isWhole ? provider : (target ?? provider), path];
  const parts = [`curl -X ${method} ${shell(where.join('/'))}`];
  parts.push(`-H ${shell(`content-type: ${exchange.request.content_type ?? 'application/json'}`)}`);
  parts.push('-H "authorization: Bearer $API_KEY"');
  if (exchange.metadata && Object.keys(exchange.metadata).length > 0) {
    parts.push(`-H ${shell(`cf-aig-metadata: ${JSON.stringify(exchange.metadata)}`)}`);
  }
  if (body !== null) parts.push(`--data-raw ${shell(body)}`);
  return parts.join(' \\\n  ');
}
