import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parted, redactions } from '../../src/conversation/redacted';
import type { AlertView, Storage } from '../../src/api';
import { alertSentence, alertTold, requestsOf } from '../../src/pages/control/alerts';
import { meetings, rateOf } from '../../src/pages/control/meets';
import { monthOf } from '../../src/pages/home/budgets';
import { blankJob, jobOf, jobTold } from '../../src/pages/settings/jobs';
import { keptTold, room, rowsOf } from '../../src/pages/settings/storage';

test('what redaction left is told by its rule, and nothing of a text is lost', () => {
  const text = 'card [redacted:card], order [order:5d2f00c1a9b37e42] and [redacted:card]; not [x:12] or [a](b)';
  const parts = parted(text);
  assert.equal(parts.map((one) => one.text).join(''), text);
  assert.deepEqual(parts.flatMap((one) => one.rule ?? []), ['card', 'order', 'card']);
  assert.deepEqual(redactions([text, null, '[redacted:email]']), [['card', 2], ['order', 1], ['email', 1]]);
  assert.deepEqual(parted(''), [{ text: '', rule: null }]);
});

test('a change of a gateway is told by the requests that it would have met', () => {
  const of = (before: object, after: object) => meetings({ of: 'fields', before: { ...before }, after: { ...after } }).map((one) => one.filter);
  assert.deepEqual(of({ authentication: false }, { authentication: true }), ['-token:*']);
  assert.deepEqual(of({ authentication: true }, { authentication: false }), []);
  assert.deepEqual(of({ cache_ttl: 60 }, { cache_ttl: 0 }), ['cache:hit,stale']);
  assert.deepEqual(of({ cache_ttl: 0 }, { cache_ttl: 60 }), ['-cache:hit,miss,stale']);
  assert.deepEqual(of({ retry_max_attempts: null }, { retry_max_attempts: 3 }), ['status:5xx attempts:>0']);
  assert.deepEqual(of({ retry_max_attempts: 3 }, { retry_max_attempts: 1 }), ['attempts:>1']);
  assert.deepEqual(of({ collect_logs: true }, { collect_logs: false }), ['']);
});

test('a change of targets is told by what they answered, and by what failed there', () => {
  const [sa, eu] = [{ name: 'sa', provider: 'p' }, { name: 'eu', provider: 'p' }];
  const of = (before: object, after: object) => meetings({ of: 'settings', before: { ...before }, after: { ...after } });
  assert.deepEqual(of({ targets: [sa, eu] }, { targets: [eu] }).map((one) => one.filter), ['target:sa']);
  const [chained] = of({ targets: [sa, eu] }, { targets: [sa, eu], fallback: { sa: ['eu'] } });
  assert.equal(chained?.filter, 'target:sa status:5xx');
  assert.match(chained?.would ?? '', /gone on to eu/);
  assert.deepEqual(of({ targets: [sa] }, { targets: [sa], limits: [] }), []);
});

test('the rate of a gateway is tried as the limit that it is', () => {
  const change = (after: object) => ({ of: 'fields' as const, before: { rate_limiting_limit: 0 }, after: { ...after } });
  assert.deepEqual(rateOf(change({ rate_limiting_limit: 20 }), { rate_limiting_interval: 60 }), { id: 'rate-limit', unit: 'requests', limit: 20, window: '60s', technique: 'fixed' });
  assert.equal(rateOf(change({ cache_ttl: 5 }), { rate_limiting_limit: 20, rate_limiting_interval: 60 }), null);
  assert.equal(rateOf(change({ rate_limiting_limit: 0 }), { rate_limiting_interval: 60 }), null);
});

test('an export is told by the worst of what is known of it', () => {
  const isango = { lag_records: 0, delivered_records: 5, lost_records: 0, buried_batches: 0, head: '' };
  const told = (more: object, progress: object = {}) => jobTold({ enabled: true, isango: { ...isango, ...progress }, ...more }).word;
  assert.equal(told({}), 'goes on');
  assert.equal(told({}, { lag_records: 100_001 }), 'falls behind');
  assert.equal(told({ max_upload_records: 200_000 }, { lag_records: 100_001 }), 'goes on');
  assert.equal(told({}, { buried_batches: 1 }), 'goes on, and laid some aside');
  assert.equal(told({}, { buried_batches: 1, lost_records: 1 }), 'goes on, and lacks records');
  assert.equal(told({ error_message: 'no' }, { lost_records: 1 }), 'fails, and tries again');
  assert.equal(told({ enabled: false, error_message: 'no' }), 'paused');
});

test('what a form leaves empty is in no export, and the trail has no filter', () => {
  const form = { ...blankJob(), destination: ' s3://b ', filter: 'status:error', fields: 'Id, Cost,' };
  assert.deepEqual(jobOf(form), { destination_conf: 's3://b', dataset: 'ai_gateway_events', enabled: true, filter: 'status:error', output_options: { field_names: ['Id', 'Cost'] } });
  assert.deepEqual(jobOf({ ...form, dataset: 'audit_logs', fields: '', name: 'trail' }), { destination_conf: 's3://b', dataset: 'audit_logs', enabled: true, name: 'trail' });
});

test('a month begins and ends by the calendar', () => {
  const { start, passed } = monthOf(Date.UTC(2026, 10, 16));
  assert.deepEqual([new Date(start).toISOString().slice(0, 10), passed], ['2026-11-01', 0.5]);
  assert.equal(new Date(monthOf(Date.UTC(2026, 11, 31, 23)).start).toISOString().slice(0, 10), '2026-12-01');
});

test('an alert is told in a sentence, with the requests that make it due', () => {
  const alert = (more: object) => ({ gateway: 'support', id: 'a', watches: 'limit', percent: 80, forecast: false, format: 'slack', managed_by: 'file', firing: false, fired: 0, waiting: 0, ...more }) as AlertView;
  assert.equal(alertSentence(alert({ limit: 'monthly' })), 'Slack is told when 80% of the limit monthly are drawn.');
  assert.equal(alertSentence(alert({ limit: 'monthly', forecast: true, format: 'json' })), 'A webhook is told when 80% of the limit monthly will be drawn at this pace.');
  const late = alert({ watches: 'ttfb', percent: 5, over_s: 2, window_s: 300, min_requests: 20, repeat_after_s: 3_600 });
  assert.equal(alertSentence(late), 'Slack is told when 5% or more of the requests of 5 m have their first byte later than 2 s, of 20 at least; then it is quiet for 1 h.');
  assert.equal(requestsOf(late), 'ttfb:>2s');
  const told = (more: object) => alertTold(alert(more)).word;
  assert.deepEqual([told({}), told({ firing: true }), told({ firing: true, muted_until: 'x' }), told({ muted_until: 'x' }), told({ failure: 'no' })], ['watches', 'due', 'due, and kept quiet', 'kept quiet', 'cannot be delivered']);
});

test('how much room there is, and what is removed, is told in words', () => {
  const of = (days_left: number | null, full_at: string | null, bytes_per_day: number | null = 5) => room({ days_left, full_at, bytes_per_day });
  assert.deepEqual(of(25, '2026-12-18T00:00:00Z'), { text: 'There is room for 25 days at this pace, until about 2026-12-18.', tone: 'warn' });
  assert.equal(of(6, '2026-12-18T00:00:00Z').tone, 'bad');
  assert.equal(of(31, '2026-12-18T00:00:00Z').tone, '');
  assert.match(of(9, null).text, /never fills the disk/);
  assert.match(of(null, null, null).text, /no whole day yet/);
  assert.match(keptTold({ max_bytes: null, max_age_s: null, max_body_age_s: null }), /^Nothing is removed/);
  assert.equal(keptTold({ max_bytes: 2 ** 30, max_age_s: null, max_body_age_s: 3_600 }), 'Bodies after 1 h, the oldest go beyond 1 GiB.');
  const parts = { journal_bytes: 5, index_bytes: 0, column_bytes: 9, rollup_bytes: 0, overlay_bytes: 0, torn_bytes: 1 } as Storage;
  assert.deepEqual(rowsOf(parts).map((one) => one.bytes), [9, 5, 1]);
});
