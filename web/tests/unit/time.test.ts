import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buckets, instant, label, resolve, step } from '../../src/time';

const NOW = Date.UTC(2026, 10, 23, 12, 0, 0);

test('instants are relative or RFC 3339, and nothing else', () => {
  assert.equal(instant('now', NOW), NOW);
  assert.equal(instant('now-90m', NOW), NOW - 90 * 60_000);
  assert.equal(instant('2026-11-23T11:00:00Z', NOW), NOW - 3_600_000);
  for (const wrong of ['', 'now-', 'now-1y', 'now+1h', 'yesterday', '5', 'now-9999999999h']) assert.equal(instant(wrong, NOW), null, wrong);
});

test('a range ends after it starts', () => {
  assert.deepEqual(resolve({ from: 'now-1h', to: 'now' }, NOW), { since: NOW - 3_600_000, until: NOW });
  assert.equal(resolve({ from: 'now', to: 'now-1h' }, NOW), null);
  assert.equal(label({ from: 'now-24h', to: 'now' }, NOW), 'Last 24 hours');
  assert.equal(label({ from: 'now-7m', to: 'now' }, NOW), 'Last 7m');
});

test('buckets cover the span, in steps that a clock has', () => {
  for (const [span, most, seconds] of [[3_600_000, 110, 60], [86_400_000, 110, 900], [30 * 86_400_000, 60, 43_200], [1_000, 100, 1]] as const) {
    assert.equal(step(span, most), seconds);
    const starts = buckets(NOW - span, NOW, seconds);
    assert.ok((starts[0] ?? NOW) <= NOW - span && (starts.at(-1) ?? 0) + seconds * 1_000 >= NOW);
    assert.ok(starts.length <= most + 1);
  }
});
