import assert from 'node:assert/strict';
import { test } from 'node:test';
import { told } from '../../src/cost';
import { bytes, count, duration, exactMoney, money, share } from '../../src/format';

function check<T>(write: (value: T) => string, cases: [T, string][]) {
  for (const [value, text] of cases) assert.equal(write(value), text, String(value));
}

test('money has as many digits as it needs, and zero is only what is zero', () => {
  check(money, [
    [0, '$0'], [1, '$0.000000001'], [42_000, '$0.000042'], [123_456, '$0.00012'], [1_234_000, '$0.00123'],
    [12_300_000, '$0.0123'], [200_000_000, '$0.20'], [831_000_000, '$0.831'], [999_000_000, '$0.999'],
    [1_000_000_000, '$1.00'], [12_345_000_000, '$12.35'], [431_000_000_000, '$431'], [1_234_000_000_000, '$1,234'],
    [12_345_000_000_000, '$12.3k'], [4_560_000_000_000_000, '$4.56M'],
  ]);
  check(exactMoney, [[0, '$0'], [1, '$0.000000001'], [12_345_678_900, '$12.3456789'], [1_000_000_000_000, '$1,000']]);
});

test('counts keep three digits, and roll over to the next unit', () => {
  check(count, [[0, '0'], [9_999, '9,999'], [10_000, '10k'], [123_456, '123k'], [999_950, '1M'], [5_950_000, '5.95M'], [2e9, '2G']]);
});

test('durations have the unit that reads best', () => {
  check(duration, [
    [0, '0 µs'], [840, '840 µs'], [1_000, '1 ms'], [12_340, '12.3 ms'], [999_400, '999 ms'], [999_900, '1 s'], [1_250_000, '1.25 s'],
    [59_990_000, '60 s'], [60_000_000, '1 m'], [200_000_000, '3 m 20 s'], [3_600_000_000, '1 h'], [9_000_000_000, '2 h 30 m'],
  ]);
});

test('a share never looks like none or all when it is not', () => {
  const cases: [number, number, string][] = [[0, 10, '0%'], [10, 10, '100%'], [1, 100_000, '<0.1%'], [99_999, 100_000, '>99.99%'], [14, 1_000, '1.4%'], [47, 100, '47%'], [9_997, 10_000, '99.97%'], [0, 0, '–']];
  for (const [part, of, text] of cases) assert.equal(share(part, of), text);
});

test('sizes are binary', () => check(bytes, [[0, '0 B'], [1_023, '1023 B'], [1_024, '1 KiB'], [5_242_880, '5 MiB']]));

test('a cost that is not known is no zero, and every zero has a reason', () => {
  assert.equal(told({ status: 'unpriced', nanousd: null }).text, 'unpriced');
  assert.equal(told({ status: 'no_usage', nanousd: null }).sign, '∅');
  assert.equal(told({ status: 'estimated', nanousd: 5_000_000 }).sign, '~');
  assert.equal(told({ status: 'free', nanousd: 0 }).text, 'free');
  assert.equal(told({ status: 'free', nanousd: 0 }, 'hit').text, 'cached');
  assert.match(told({ status: 'priced', nanousd: 5_000_001 }).why, /^\$0\.005000001: /);
});
