import assert from 'node:assert/strict';
import { test } from 'node:test';
import { around, filterOf, filterOfBucket, forecast, length, sentence, tidy, type Limit } from '../../src/pages/control/limits';
import { formOf, standIns, targetOf, without, withStandIns } from '../../src/pages/control/chains';
import { tabled, untabled } from '../../src/pages/control/texts';

const DAILY: Limit = { id: 'daily', unit: 'tokens', limit: 1_000, window: 'day', by: ['metadata.tenantId'] };
const at = (text: string) => Date.parse(text);

test('a limit is told in a sentence', () => {
  for (const [limit, text] of [
    [DAILY, 'Each tenant may use 1,000 tokens a day; what goes beyond is refused.'],
    [{ id: 'm', unit: 'cost', limit: 0.5, window: 'month', time_zone: 'Africa/Johannesburg' }, 'Everybody together may spend $0.50 a month (Africa/Johannesburg); what goes beyond is refused.'],
    [{ id: 'c', unit: 'concurrent', limit: 8, by: ['token'] }, 'Each token may have 8 requests at once; what goes beyond is refused.'],
    [{ id: 'w', unit: 'requests', limit: 5, window: '90s', only: { model: ['o3', 'gpt-4o'] }, on_exceeded: 'fallback', fallback_to: ['mini'] }, 'Everybody together may use 5 requests in any 90s, of requests with model o3 or gpt-4o; what goes beyond is sent to mini.'],
    [{ ...DAILY, shadow: true }, 'Each tenant may use 1,000 tokens a day; it only counts, and refuses nothing.'],
  ] as [Limit, string][]) {
    assert.equal(sentence(limit), text);
  }
});

test('windows turn with the clocks of their zone', () => {
  const window = (more: Partial<Limit>, now: string) => {
    const { start, end } = around({ ...DAILY, ...more }, at(now));
    return [new Date(start).toISOString().slice(0, 16), new Date(end).toISOString().slice(0, 16)];
  };
  assert.deepEqual(window({}, '2026-11-23T05:30:00Z'), ['2026-11-23T00:00', '2026-11-24T00:00']);
  assert.deepEqual(window({ time_zone: 'Africa/Johannesburg' }, '2026-11-23T23:30:00Z'), ['2026-11-23T22:00', '2026-11-24T22:00']);
  assert.deepEqual(window({ window: 'week' }, '2026-11-29T10:00:00Z'), ['2026-11-23T00:00', '2026-11-30T00:00']);
  assert.deepEqual(window({ window: 'month', time_zone: 'America/New_York' }, '2026-11-23T10:00:00Z'), ['2026-11-01T04:00', '2026-12-01T05:00']);
  assert.deepEqual(window({ window: '1h' }, '2026-11-23T10:30:00Z'), ['2026-11-23T09:30', '2026-11-23T10:30']);
  assert.deepEqual(window({ window: '1h', technique: 'fixed' }, '2026-11-23T10:30:00Z'), ['2026-11-23T10:00', '2026-11-23T11:00']);
  for (const [text, seconds] of [['minute', 60], ['90s', 90], ['1h30m', 5_400], ['7d', 604_800], ['', null], ['soon', null]] as const) assert.equal(length({ ...DAILY, window: text }), seconds);
});

test('a limit finds the requests that draw from it', () => {
  assert.equal(filterOf({ ...DAILY, unit: 'requests', only: { model: ['gpt 4o', 'o3'], 'metadata.tier': ['free'] } }), 'model:"gpt 4o",o3 meta.tier:free -outcome:refused');
  assert.equal(filterOfBucket(DAILY, ['acme']), 'meta.tenantId:acme');
  assert.equal(filterOfBucket(DAILY, [null]), '-meta.tenantId:*');
});

test('what goes on as so far is told once it tells something', () => {
  const window = { start: 0, end: 1_000, rolls: false };
  assert.equal(forecast(10, 100, window, 40), null);
  assert.deepEqual(forecast(10, 100, window, 500), { atEnd: 20, reachedAt: null });
  assert.deepEqual(forecast(80, 100, window, 500), { atEnd: 160, reachedAt: 625 });
  assert.equal(forecast(100, 100, window, 500)?.reachedAt, null);
  assert.equal(forecast(80, 100, { ...window, rolls: true }, 500), null);
});

test('what a form leaves empty is not set', () => {
  assert.deepEqual(tidy({ ...DAILY, time_zone: '', only: {}, fallback_to: [], shadow: false }), DAILY);
  assert.deepEqual(tabled('model=gpt-4o|o3, metadata.tier=free, x, =y'), { model: ['gpt-4o', 'o3'], 'metadata.tier': ['free'] });
  assert.equal(untabled({ a: ['1', '2'], b: ['3'] }), 'a=1|2, b=3');
});

test('chains keep their conditions, and a removed target is in none', () => {
  const settings = { targets: [{ name: 'sa', provider: 'p' }, { name: 'eu', provider: 'p' }], fallback: { sa: { to: ['eu'], on: ['5xx'] }, eu: ['sa'] }, residency: ['x'] };
  assert.deepEqual(standIns(settings, 'sa'), ['eu']);
  assert.deepEqual(withStandIns(settings, 'sa', ['us']).fallback, { sa: { to: ['us'], on: ['5xx'] }, eu: ['sa'] });
  assert.deepEqual(without(settings, 'eu'), { targets: [{ name: 'sa', provider: 'p' }], residency: ['x'] });
  const target = { name: 'sa', provider: 'p', models: { chat: 'gpt-4o' }, weight: 2, idle_timeout: '30s' };
  assert.deepEqual(targetOf(formOf(target), target), target);
  assert.deepEqual(targetOf({ ...formOf(target), models: '', weight: null }, target), { name: 'sa', provider: 'p', idle_timeout: '30s' });
});
