// A Worker that asks Azure OpenAI through Isango, with all four moves: the URL swap, the cache,
// retries, and tenants with limits. Answers stream to the browser as they come.

export interface Env {
  GATEWAY: string;
  RESOURCE: string;
  DEPLOYMENT: string;
  API_VERSION: string;
  APP_KEYS: string;
  AZURE_OPENAI_KEY?: string;
  ISANGO_TOKEN?: string;
}

interface Session {
  tenantId: string;
  userId: string;
}

interface Question {
  messages: { role: string; content: string }[];
  stream?: boolean;
  /** `false`: never from the cache. */
  cache?: boolean;
}

/** Answer headers of the gateway that are worth showing. */
const SHOWN = [
  'cf-aig-provider', // which target answered: the region, after a fallback
  'cf-aig-cache-status',
  'cf-aig-attempts',
  'cf-aig-log-id', // isango logs show ID
];

export default {
  async fetch(request, env): Promise<Response> {
    if (request.method !== 'POST' || new URL(request.url).pathname !== '/chat') {
      return refuse(404, 'not_found', 'POST /chat');
    }
    const session = signedIn(request, env);
    if (!session) return refuse(401, 'unauthorized', 'who are you?');
    const question = await request.json<Question>().catch(() => null);
    if (!question || !Array.isArray(question.messages)) {
      return refuse(400, 'bad_request', '`messages` is missing');
    }
    return answer(await ask(question, session, env));
  },
} satisfies ExportedHandler<Env>;

/** Whose request it is. The tenant comes from the session, never from what a client claims. */
function signedIn(request: Request, env: Env): Session | undefined {
  const key = request.headers.get('authorization')?.replace(/^Bearer /, '') ?? '';
  const sessions = JSON.parse(env.APP_KEYS) as Record<string, Session>;
  return Object.hasOwn(sessions, key) ? sessions[key] : undefined;
}

async function ask(question: Question, session: Session, env: Env): Promise<Response> {
  // 1. The URL swap: only the base differs from https://{resource}.openai.azure.com/openai/deployments.
  const { GATEWAY, RESOURCE, DEPLOYMENT } = env;
  const url = new URL(`${GATEWAY}/azure-openai/${RESOURCE}/${DEPLOYMENT}/chat/completions`);
  url.search = `api-version=${env.API_VERSION}`;

  const headers = new Headers({ 'content-type': 'application/json' });
  if (env.AZURE_OPENAI_KEY) headers.set('api-key', env.AZURE_OPENAI_KEY);
  if (env.ISANGO_TOKEN) headers.set('cf-aig-authorization', `Bearer ${env.ISANGO_TOKEN}`);

  // 2. The cache: an equal question of the same tenant is answered at once, streams included. The key
  // is added to the question, unless the gateway has `cache_key_mode = "replace"`.
  if (question.cache !== false) {
    headers.set('cf-aig-cache-ttl', '3600');
    headers.set('cf-aig-cache-key', session.tenantId);
  }

  // 3. Retries: of what passes by itself, never after the first byte.
  headers.set('cf-aig-max-attempts', '3');
  headers.set('cf-aig-retry-delay', '250');
  headers.set('cf-aig-backoff', 'exponential');

  // 4. Tenants: on record, and what limits and budgets are split by.
  headers.set('cf-aig-metadata', JSON.stringify(session));

  const { messages, stream = false } = question;
  return fetch(url, { method: 'POST', headers, body: JSON.stringify({ messages, stream }) });
}

function answer(asked: Response): Response {
  if (asked.status === 429) {
    const after = asked.headers.get('retry-after');
    // The gateway's own 429 is the tenant's limit; any other is the provider's, and not its fault.
    return asked.headers.get('cf-aig-source') === 'rate-limit'
      ? refuse(429, 'limit_reached', 'your limit is reached', after)
      : refuse(503, 'model_busy', 'the model is busy, try again', after);
  }
  if (!asked.ok) return refuse(502, 'model_failed', `the model answered ${asked.status}`);
  const headers = new Headers({ 'cache-control': 'no-store' });
  headers.set('content-type', asked.headers.get('content-type') ?? 'application/json');
  for (const name of SHOWN) {
    const value = asked.headers.get(name);
    if (value) headers.set(name, value);
  }
  // The body passes as it comes; when the browser leaves, the provider is told, too.
  return new Response(asked.body, { headers });
}

function refuse(status: number, error: string, message: string, after?: string | null): Response {
  const headers = new Headers(after ? { 'retry-after': after } : {});
  return Response.json({ error, message }, { status, headers });
}
