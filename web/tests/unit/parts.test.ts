import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exchange, TargetView } from '../../src/api';
import { diff } from '../../src/diff';
import { chosen, inView, moved, spelled, type Column } from '../../src/parts/table';
import { needs } from '../../src/pages/home/needs';
import { asCurl } from '../../src/pages/requests/curl';
import { cadence, spans } from '../../src/pages/requests/timeline';
import { health } from '../../src/status';

const COLUMNS = ['time', 'model', 'cost'].map((id): Column<unknown> => ({ id, name: id, width: 100, text: () => '' }));

test('columns are what the address says, within bounds', () => {
  const read = (text: string) => spelled(chosen(text, COLUMNS, ['time', 'cost']), COLUMNS);
  for (const [text, kept] of [['', 'time,cost'], ['model:220,time', 'model:220,time'], ['nope,cost,cost', 'cost'], ['time:1', 'time:44'], ['time:x', 'time']] as const) {
    assert.equal(read(text), kept);
  }
  const all = chosen('time,model,cost', COLUMNS, []);
  assert.equal(spelled(moved(all, 'cost', 0), COLUMNS), 'cost,time,model');
  assert.equal(spelled(moved(all, 'time', 99), COLUMNS), 'model,cost,time');
});

test('only the rows in view are drawn, and a few more', () => {
  assert.deepEqual(inView(0, 300, 30, 1_000_000), { from: 0, to: 18 });
  assert.deepEqual(inView(30 * 500_000, 300, 30, 1_000_000), { from: 499_992, to: 500_018 });
  assert.deepEqual(inView(9_999, 300, 30, 5), { from: 5, to: 5 });
});

test('a diff has all lines of both, in their order', () => {
  const [left, right] = ['a\nb\nc\nd', 'a\nc\nx\nd\ne'];
  const lines = diff(left, right);
  assert.equal(lines.filter((line) => line.kind !== 'right').map((line) => line.text).join('\n'), left);
  assert.equal(lines.filter((line) => line.kind !== 'left').map((line) => line.text).join('\n'), right);
  assert.equal(lines.filter((line) => line.kind === 'same').length, 3);
  const long = Array.from({ length: 3_000 }, (_, n) => String(n)).join('\n');
  assert.equal(diff(long, long.replaceAll('1', 'x')).filter((line) => line.kind !== 'left').map((line) => line.text).join('\n'), long.replaceAll('1', 'x'));
});

const EXCHANGE: Exchange = {
  id: 'i', created_at: '', account: 'local', gateway: 'support', provider: 'azure-openai', resource: 'r', deployment: 'chat', operation: 'chat',
  method: 'POST', path: 'R/chat/chat/completions?api-version=1', http_version: '1.1', status: 200, outcome: 'answered',
  timing: { queue_us: 100, connect_us: 0, ttfb_us: 900_000, ttft_us: 950_000, total_us: 2_000_000, overhead_us: 60 }, stream: true,
  cost: { status: 'free', nanousd: 0 }, request: { bytes: 1 }, response: { bytes: 1, events: 9 }, metadata: { name: "O'Brien" },
  attempts: [
    { target: 'sa', started_us: 160, connect_us: 20_000, ttfb_us: 100_000, status: 503 },
    { target: 'sa', started_us: 600_160, wait_us: 500_000, wait_reason: 'backoff', connect_us: 0, error: 'reset' },
    { target: 'eu', step: 1, started_us: 700_000, connect_us: 0, ttfb_us: 200_000, status: 200, reused: true },
  ],
};

test('the waterfall tells every stretch of time, within the whole', () => {
  const found = spans(EXCHANGE);
  assert.deepEqual(found.map((one) => one.kind), ['wait', 'gateway', 'connect', 'failed', 'wait', 'failed', 'provider', 'provider', 'stream']);
  for (const one of found) assert.ok(one.start >= 0 && one.end >= one.start && one.end <= EXCHANGE.timing.total_us, one.label);
  const { attempts: _, ...alone } = EXCHANGE;
  const hit = spans({ ...alone, cache: { status: 'hit', age_s: 60 } });
  assert.deepEqual(hit.map((one) => [one.kind, one.note]).at(-1), ['cache', 'kept for 1 m']);
});

test('a stall is long against the rhythm', () => {
  const even = Array.from({ length: 50 }, (_, n) => n * 20_000);
  assert.equal(cadence(even)?.gaps.some((gap) => gap.stalled), false);
  const stalled = cadence([...even, even.length * 20_000 + 900_000]);
  assert.equal(stalled?.gaps.filter((gap) => gap.stalled).length, 1);
  assert.equal(cadence([1, 2]), null);
});

test('a command for a shell quotes what came from outside', () => {
  const command = asCurl(EXCHANGE, 'http://h:1', `{"a":"it's $(rm) \`x\`"}`);
  assert.ok(command.startsWith("curl -X POST 'http://h:1/v1/local/support/azure-openai/R/chat/chat/completions?api-version=1'"));
  const byTarget = asCurl({ ...EXCHANGE, target: 'sa', path: 'chat/chat/completions' }, 'http://h:1', null);
  assert.ok(byTarget.startsWith("curl -X POST 'http://h:1/v1/local/support/sa/chat/chat/completions'"));
  assert.ok(command.includes(String.raw`--data-raw '{"a":"it'\''s $(rm)`));
  assert.ok(command.includes(String.raw`O'\''Brien`));
});

test('how it went is one of six, whatever the status', () => {
  for (const [status, outcome, kind] of [[200, 'answered', 'ok'], [404, 'answered', 'client'], [503, 'answered', 'upstream'], [429, 'refused', 'refused'], [200, 'upstream_cut', 'cut'], [200, 'client_left', 'left'], [502, 'failed', 'upstream'], [null, 'client_left', 'left']] as const) {
    assert.equal(health({ status, outcome }), kind);
  }
});

test('what needs attention comes with a way there, the worst first', () => {
  const target: TargetView = { account: 'a', gateway: 'g', target: 't', circuit: 'open', rest_ms: 5_000, benched_ms: 0, in_flight: 0, requests: 0, retries: 0, ttfb_p95_ms: null, stream_ttfb_p95_ms: null, remaining_requests: null, remaining_tokens: null };
  assert.deepEqual(needs({ count: 100, errors: 10, unpriced: 1, targets: [target] }).map((one) => [one.tone, one.filter]), [['bad', 'status:error'], ['bad', 'target:t'], ['warn', 'cost:unpriced,no_usage']]);
  assert.deepEqual(needs({ count: 0, errors: 0, unpriced: 0, targets: [], drawn: [{ gateway: 'shop', limit: 'daily', whose: 'acme', share: 1.2 }, { gateway: 'shop', limit: 'monthly', whose: '', share: 0.81 }] }).map((one) => [one.tone, one.text, one.limits]), [['bad', 'daily of shop is drawn for acme', 'shop'], ['warn', 'monthly of shop is 81% drawn', 'shop']]);
  assert.deepEqual(needs({ count: 10, errors: 1, unpriced: 0, targets: [] }), []);
  const token = (name: string, days: number, revoked_at: string | null = null) => ({ name, expires_at: new Date(days * 86_400_000).toISOString(), revoked_at, created_at: '', gateways: [], metadata: {}, models: [], providers: [], scopes: [] });
  const told = needs({ count: 0, errors: 0, unpriced: 0, targets: [], now: 100 * 86_400_000, tokens: [token('soon', 104), token('ended', 99), token('later', 200), token('gone', 101, 'x')] });
  assert.deepEqual(told.map((one) => [one.text, one.filter]), [['the token soon ends in 4 days', 'token:soon'], ['the token ended has ended', 'token:ended']]);
});
