// What is in force, as the management API keeps it: gateways, their settings, tokens, keys, revisions.

const AT = '2026-11-01T08:00:00.000000Z';
const gateway = (id, managed_by, more = {}) => ({ id, account_id: 'local', created_at: AT, modified_at: AT, is_default: id === 'default', managed_by, authentication: false, cache_ttl: 0, cache_invalidate_on_update: true, collect_logs: true, rate_limiting_limit: 0, rate_limiting_interval: 0, rate_limiting_technique: 'fixed', retry_max_attempts: 1, retry_delay: 500, retry_backoff: 'constant', ...more });
const LIMITS = [
  { id: 'tenant-daily-tokens', by: ['metadata.tenantId'], unit: 'tokens', limit: 6_000_000, window: 'day', time_zone: 'Africa/Johannesburg' },
  { id: 'monthly-spend', unit: 'cost', limit: 250, window: 'month', alerts: [{ at: 0.8 }] },
];
const TARGETS = [
  { name: 'azure-openai-sa', provider: 'azure-openai', resource: 'aoai-imbila-sa', region: 'southafricanorth', models: { chat: 'gpt-4o' } },
  { name: 'azure-openai-eu', provider: 'azure-openai', resource: 'aoai-imbila-eu', region: 'westeurope', models: { 'chat-eu': 'gpt-4o' } },
];
const token = (name, more = {}) => ({ name, gateways: [], providers: [], models: [], scopes: ['run'], metadata: {}, expires_at: null, spend: null, created_at: AT, rotated_at: null, revoked_at: null, ...more });

const NOTHING = { looked_at: 0, changed: 0, unchanged: 0, kept: 0, newly_priced: 0, newly_unpriced: 0, still_unpriced: 0, before_nanousd: 0, after_nanousd: 0, is_complete: false };
const STORAGE = {
  records: 1_204_300, journal_bytes: 4.1e9, index_bytes: 6.1e7, column_bytes: 3.2e8, rollup_bytes: 4e6, overlay_bytes: 8e5, torn_bytes: 0, total_bytes: 4.4858e9, free_bytes: 9.1e9,
  days: Array.from({ length: 12 }, (_, n) => ({ day: new Date(Date.UTC(2026, 10, 12 + n)).toISOString(), records: 90_000 + 4_000 * (n % 5), journal_bytes: 3e8 + 2e7 * (n % 4) })),
  bytes_per_day: 3.6e8, days_left: 25, full_at: '2026-12-18T00:00:00Z', retention: { max_bytes: null, max_age_s: null, max_body_age_s: 2_592_000 },
};

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** Answers `{ result, more?, etag? }`; null where it knows no such path. */
export function control() {
  const gateways = new Map([gateway('default', 'default'), gateway('research', 'file', { rate_limiting_limit: 600, rate_limiting_interval: 60 }), gateway('support', 'api', { cache_ttl: 3_600 })].map((one) => [one.id, one]));
  const settings = new Map([['support', { limits: LIMITS, targets: TARGETS, fallback: { 'azure-openai-sa': ['azure-openai-eu'] } }]]);
  const versions = new Map();
  const tokens = [token('support-app', { gateways: ['support'], metadata: { tenantId: 'acme' }, spend: { limit_usd: '50', period: 'month', time_zone: 'UTC' } }), token('research-batch', { expires_at: new Date(Date.now() + 4 * 86_400_000).toISOString() }), token('old-ci', { revoked_at: AT })];
  let keys = [{ id: 'azure-openai.default', provider_slug: 'azure-openai', alias: 'default', default_config: true, gateway_id: 'support', secret_id: 's1', secret_preview: '…9fQ', modified_at: AT }];
  const users = [{ name: 'owner', role: 'owner', state: 'active', everywhere: true, created_at: AT }, { name: 'grace', role: 'viewer', state: 'active', everywhere: false, created_at: AT }];
  const revisions = [];
  const prices = [];
  const reratings = [];
  const alert = (id, more = {}) => ({ gateway: 'support', id, watches: 'limit', limit: 'monthly-spend', percent: 80, forecast: false, over_s: null, window_s: null, min_requests: null, repeat_after_s: null, format: 'slack', managed_by: 'file', firing: false, last_fired_at: null, fired: 0, waiting: 0, delivered_at: null, failed_at: null, failure: null, muted_until: null, ...more });
  const alerts = [alert('monthly-spend-80', { firing: true, fired: 2, last_fired_at: AT, delivered_at: AT }), alert('failing', { limit: null, watches: 'error_rate', percent: 5, window_s: 300, min_requests: 20, repeat_after_s: 3_600, format: 'json', waiting: 1, failed_at: AT, failure: 'its webhook answers 503 Service Unavailable' })];
  const entry = (number, action, kind, id, more = {}) => ({ number, at: AT, account: 'local', who: 'user owner', address: '127.0.0.1', action, kind, id, link: '5d2c'.repeat(16), before: null, after: null, ...more });
  const trail = [entry(4, 'sign_in_failed', 'session', 'local', { who: 'nobody' }), entry(3, 'update', 'gateway', 'support', { revision: 1, before: { cache_ttl: 0 }, after: { cache_ttl: 3_600 } }), entry(2, 'create', 'token', 'support-app', { who: 'command line', address: null, after: { name: 'support-app' } }), entry(1, 'sign_in', 'session', '')];
  const job = (id, more = {}) => ({ id, destination_conf: 's3://trail/audit?region=af-south-1&access-key-id=****&secret-access-key=****', dataset: 'ai_gateway_events', enabled: true, name: `job-${id}`, filter: null, created_at: AT, modified_at: AT, last_complete: AT, last_error: null, error_message: null, isango: { lag_records: 12, delivered_records: 48_210, lost_records: 0, buried_batches: 0, head: 'ab'.repeat(32) }, ...more });
  let jobs = [job(1, { name: 'trail' }), job(2, { name: 'siem', destination_conf: 'splunk://siem.example.com:8088?header_Authorization=****', last_error: AT, error_message: 'the destination answered 400', isango: { lag_records: 240_000, delivered_records: 1_200, lost_records: 40, buried_batches: 2, head: '' } })];
  const copy = (value) => JSON.parse(JSON.stringify(value));
  const version = (id) => `"${versions.get(id) ?? 1}"`;

  function commit(kind, id, before, after) {
    revisions.unshift({ revision: revisions.length + 1, who: 'user owner', at: new Date().toISOString(), changes: [{ kind, id: `local/${id}`, before, after }] });
    if (kind === 'gateway') versions.set(id, (versions.get(id) ?? 1) + 1);
  }

  const known = (id) => gateways.get(id) ?? (() => { throw new Refused(404, 7002, 'There is no such gateway.'); })();
  const changeable = (id) => { if (known(id).managed_by === 'file') throw new Refused(403, 7010, 'managed by file: change it there'); };
  const matching = (id, request) => { const wanted = request.headers['if-match']; if (wanted && wanted !== version(id)) throw new Refused(412, 7012, 'it has changed meanwhile'); };
  const body_ = (id) => ({ ...gateways.get(id), settings: settings.get(id) ?? {} });
  const page = (all, query) => { const size = Number(query.per_page ?? 20); const at = Number(query.page ?? 1); return { result: all.slice((at - 1) * size, at * size), more: { result_info: { page: at, per_page: size, total_count: all.length, total_pages: Math.max(1, Math.ceil(all.length / size)) } } }; };

  const value = () => `isg_${'x'.repeat(40)}`;

  return function answer(request, area, here, query, body) {
    const { method } = request;
    const is = (wanted, pattern) => (method === wanted ? pattern.exec(here) : null);
    let at;
    if (area === 'ai-gateway' && is('GET', /^gateways$/)) return page([...gateways.values()], query);
    if (area === 'ai-gateway' && is('POST', /^gateways$/)) {
      if (gateways.has(body.id)) throw new Refused(409, 7011, `the gateway ${body.id} exists`);
      gateways.set(body.id, gateway(body.id, 'api', body));
      commit('gateway', body.id, null, body_(body.id));
      return { result: gateways.get(body.id) };
    }
    if (area === 'ai-gateway' && (at = /^gateways\/([^/]+)$/.exec(here))) {
      const [, id] = at;
      known(id);
      if (method === 'GET') return { result: known(id), etag: version(id) };
      changeable(id);
      matching(id, request);
      const before = copy(body_(id));
      if (method === 'DELETE') gateways.delete(id);
      else gateways.set(id, { ...gateways.get(id), ...body });
      commit('gateway', id, before, method === 'DELETE' ? null : copy(body_(id)));
      return { result: gateways.get(id) ?? {}, etag: version(id) };
    }
    if (area === 'isango' && (at = /^gateways\/([^/]+)\/settings$/.exec(here))) {
      const [, id] = at;
      known(id);
      if (method === 'GET') return { result: settings.get(id) ?? {}, etag: version(id) };
      changeable(id);
      matching(id, request);
      const wrong = (body.limits ?? []).find((one) => one.unit !== 'concurrent' && !/^(minute|hour|day|week|month|\d+[smhdw])$/.test(one.window));
      if (wrong) throw new Refused(400, 7001, `\`${wrong.window}\` is no window`);
      const before = copy(body_(id));
      settings.set(id, body);
      commit('gateway', id, before, copy(body_(id)));
      return { result: body, etag: version(id) };
    }
    if (area === 'ai-gateway' && (at = /^gateways\/([^/]+)\/provider_configs(?:\/(.+))?$/.exec(here))) {
      const [, id, key] = at;
      if (method === 'GET') return page(keys.filter((one) => one.gateway_id === id), query);
      if (method === 'DELETE') keys = keys.filter((one) => one.id !== key);
      if (method === 'POST') keys.push({ ...body, secret: undefined, id: `${body.provider_slug}.${body.alias}`, gateway_id: id, secret_id: 's2', secret_preview: `…${body.secret.slice(-3)}`, modified_at: new Date().toISOString() });
      return { result: {} };
    }
    if (area === 'logpush' && is('POST', /^validate\/destination$/)) {
      const valid = !body.destination_conf.includes('nowhere');
      return { result: { valid, message: valid ? '' : 'the name nowhere cannot be resolved' } };
    }
    if (area === 'logpush' && (at = /^jobs(?:\/(\d+))?$/.exec(here))) {
      const one = jobs.find(({ id }) => id === Number(at[1]));
      if (method === 'GET') return { result: jobs };
      if (method === 'POST') jobs.push(job(jobs.length + 1, { ...body, destination_conf: body.destination_conf.replace(/key=[^&]*/g, 'key=****'), last_complete: null, isango: { lag_records: 0, delivered_records: 0, lost_records: 0, buried_batches: 0, head: '' } }));
      if (method === 'PUT') Object.assign(one, body);
      if (method === 'DELETE') jobs = jobs.filter((other) => other !== one);
      return { result: one ?? jobs.at(-1) };
    }
    if (area !== 'isango') return null;
    if (is('GET', /^alerts$/)) return page(alerts, query);
    if ((at = /^gateways\/[^/]+\/alerts\/([^/]+)\/(test|mute)$/.exec(here))) {
      const one = alerts.find(({ id }) => id === at[1]);
      if (at[2] === 'test') return { result: one.failure ? { delivered: false, status: 503, said: 'its webhook answers 503' } : { delivered: true, status: 204, said: '' } };
      one.muted_until = method === 'POST' ? new Date(Date.now() + body.for_s * 1_000).toISOString() : null;
      return { result: one };
    }
    if (is('GET', /^storage$/)) return { result: STORAGE };
    if (is('POST', /^prices\/rerate$/)) {
      reratings.push({ id: `r${reratings.length + 1}`, state: 'running', asked: body, who: 'user owner', created_at: AT, ended_at: null, total: 480, outcome: { ...NOTHING, looked_at: 120 } });
      return { result: reratings.at(-1) };
    }
    if ((at = is('GET', /^prices\/rerate\/(.+)$/))) {
      const one = reratings.find(({ id }) => id === at[1]);
      return { result: Object.assign(one, { state: 'done', outcome: { ...NOTHING, looked_at: 480, changed: 410, newly_priced: 410, still_unpriced: 70, after_nanousd: 1_204_000_000, is_complete: true } }) };
    }
    if (is('GET', /^audit$/)) return { result: trail.filter((one) => (!query.who || one.who === query.who) && (!query.action || one.action === query.action)), more: { result_info: { next: null, count: trail.length } } };
    if (is('GET', /^prices\/own$/)) return page(prices, query);
    if (is('POST', /^prices$/)) {
      prices.push({ id: `p${prices.length + 1}`, created_at: AT, row: body });
      return { result: prices.at(-1) };
    }
    if ((at = is('DELETE', /^prices\/(.+)$/))) return { result: prices.splice(prices.findIndex(({ id }) => id === at[1]), 1)[0] };
    if (is('GET', /^tokens$/)) return page(tokens, query);
    if (is('POST', /^tokens$/)) {
      if (tokens.some((one) => one.name === body.name)) throw new Refused(409, 7011, `the name ${body.name} is taken`);
      tokens.push(token(body.name, body));
      return { result: { ...tokens.at(-1), value: value() } };
    }
    if ((at = is('POST', /^tokens\/([^/]+)\/rotate$/))) return { result: { ...tokens.find((one) => one.name === at[1]), value: value() } };
    if ((at = is('DELETE', /^tokens\/([^/]+)$/))) {
      const one = tokens.find(({ name }) => name === at[1]);
      one.revoked_at = new Date().toISOString();
      return { result: one };
    }
    if (is('GET', /^users$/)) return page(users, query);
    if (is('POST', /^users$/)) {
      users.push({ name: body.name, role: body.role, state: 'invited', everywhere: false, created_at: AT, expires_at: AT });
      return { result: { name: body.name, code: 'invited', link: '/#code=invited', expires_at: AT } };
    }
    if ((at = is('PATCH', /^users\/([^/]+)$/))) {
      users.find(({ name }) => name === at[1]).role = body.role;
      return { result: {} };
    }
    if (is('POST', /^cache\/purge$/)) return { result: { purged: body.gateway ? 8 : 41 } };
    if (is('GET', /^revisions$/)) return page(revisions, query);
    if ((at = is('GET', /^revisions\/(\d+)\/diff$/))) {
      const [change] = revisions.find((one) => one.revision === Number(at[1])).changes;
      const now = body_(change.id.replace('local/', ''));
      const same = JSON.stringify(now) === JSON.stringify(change.after);
      return { result: { revision: revisions.length, changes: same ? [] : [{ ...change, before: now, after: change.after }] } };
    }
    if (is('GET', /^prices$/)) {
      const rate = (usd, per = 1_000_000) => ({ usd, per });
      const all = [['openai', 'gpt-4o', '2.5', '10'], ['openai', 'gpt-4o-mini', '0.15', '0.6'], ['anthropic', 'claude-sonnet-4-5', '3', '15'], ['google-ai-studio', 'gemini-2.5-flash', '0.3', '2.5']]
        .map(([provider, model, input, output]) => ({ provider, model, price: `2026-11-22/${provider}/${model}`, source: provider === 'anthropic' ? 'configured' : 'https://example.com/pricing', effective_from: null, rates: { input: rate(input), output: rate(output) } }));
      return page(all.filter((one) => one.provider.includes(query.provider ?? '') && one.model.includes(query.model ?? '')), query);
    }
    if ((at = is('POST', /^revisions\/(\d+)\/restore$/))) {
      const [change] = revisions.find((one) => one.revision === Number(at[1])).changes;
      const id = change.id.replace('local/', '');
      const before = copy(body_(id));
      const { settings: own, ...fields } = change.after;
      gateways.set(id, fields);
      settings.set(id, own);
      commit('gateway', id, before, copy(body_(id)));
      return { result: { revision: revisions.length, changed: 1 } };
    }
    return null;
  };
}
