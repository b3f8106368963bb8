import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Row } from '../../src/api';
import { edges, QUANTILES, spread } from '../../src/density';
import { pairs } from '../../src/pages/compare/weigh';
import { turns } from '../../src/pages/sessions/sessions';
import { betweenMeans, betweenShares, mean, percentile, share, side } from '../../src/stats';

const near = (value: number | undefined, wanted: number, by = 0.0005) => assert.ok(value !== undefined && Math.abs(value - wanted) <= by, `${value} is not ${wanted}`);

test('shares have the intervals of Wilson, and their difference that of Newcombe', () => {
  const one = share(10, 100);
  near(one?.low, 0.0552);
  near(one?.high, 0.1744);
  const [a, b] = [share(48, 80), share(56, 70)];
  assert.ok(a && b);
  const between = betweenShares(a, b);
  near(between.at, 0.2);
  near(between.low, 0.0524);
  near(between.high, 0.3339);
  assert.equal(side(between), 1);
  assert.equal(share(0, 0), null);
  near(share(0, 20)?.high, 0.1611);
});

test('means have the intervals of Student, and their difference that of Welch', () => {
  const a = [27.5, 21, 19, 23.6, 17, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19, 21.7, 21.4];
  const b = [27.1, 22, 20.8, 23.4, 23.4, 23.5, 25.8, 22, 24.8, 20.2, 21.9, 22.1, 22.9, 30, 23.9];
  const of = (sample: number[]) => mean(sample.reduce((sum, value) => sum + value, 0) / sample.length, sample.length, sample);
  const [x, y] = [of(a), of(b)];
  assert.ok(x && y);
  const between = betweenMeans(x, y);
  near(between.at, 2.7667);
  // 27.7 degrees: 2.0518 would be right; of the 20 in the table it is 2.086, to the safe side.
  near(between.low, 0.7311);
  near(between.high, 4.8022);
  assert.equal(side(between), 1);
  assert.equal(mean(1, 1, [1]), null);
  assert.equal(side(betweenMeans(x, x)), 0);
});

test('a percentile lies between two values of its sample', () => {
  const sample = Array.from({ length: 100 }, (_, n) => n + 1);
  assert.deepEqual(percentile(sample, 0.5), { at: 50, low: 41, high: 61 });
  assert.equal(percentile([1, 2, 3], 0.5), null);
});

test('a distribution has all that there is, where its percentiles say', () => {
  const even = QUANTILES.map(([, at]) => Math.exp(at * 10));
  const bounds = edges(1, Math.exp(10), 20);
  const found = spread(even, bounds);
  near(found.reduce((sum, part) => sum + part, 0), 1, 1e-9);
  // Half of it lies in each half of an even one.
  near(found.slice(0, 10).reduce((sum, part) => sum + part, 0), 0.5, 0.01);
  const same = spread(QUANTILES.map(() => 500), edges(100, 1_000, 10));
  near(Math.max(...same), 1, 1e-9);
  near(spread(QUANTILES.map(() => 5_000), edges(100, 1_000, 10)).at(-1), 1, 1e-9);
  assert.deepEqual(spread(QUANTILES.map(() => null), bounds).some((part) => part > 0), false);
});

const row = (id: string, at: number, more: Partial<Row> = {}): Row =>
  ({ id, created_at: new Date(at).toISOString(), metadata: {}, timing: { total_us: 1_000_000 }, cost: { status: 'priced', nanousd: 5 }, usage: { input: 10, cache_read: 30, output: 2 }, finish_reason: 'stop', ...more }) as Row;

test('pairs are of the same value, and none is used twice', () => {
  const of = (id: string, item: string) => row(id, 0, { metadata: { item } });
  const found = pairs([of('a1', 'x'), of('a2', 'x'), of('a3', 'y')], [of('b1', 'y'), of('b2', 'x')], 'item');
  assert.deepEqual(found.map((one) => [one.a.id, one.b.id, one.by]), [['a1', 'b2', 'x'], ['a3', 'b1', 'y']]);
  assert.deepEqual(pairs([of('a1', 'x'), of('a2', 'x')], [of('b1', 'y')], '').map((one) => [one.a.id, one.b.id]), [['a1', 'b1']]);
});

test('turns add up in their order, and know what they do not', () => {
  const found = turns([row('c', 9_000, { cost: { status: 'unpriced', nanousd: null }, usage: null }), row('a', 0, { finish_reason: 'tool_calls' }), row('b', 500)]);
  assert.deepEqual(found.map((one) => [one.row.id, one.pauseUs, one.cost, one.unknown, one.tokens, one.kept, one.callsTools]), [
    ['a', 0, 5, 0, 42, 0.75, true], ['b', 0, 10, 0, 84, 0.75, false], ['c', 7_500_000, 10, 1, 84, null, false],
  ]);
});
