/**
 * How sure a difference is: intervals of 95 %. Shares by Wilson's score and Newcombe's method 10
 * (Statistics in Medicine 17, 1998), means by Welch, percentiles by order statistics.
 */

export interface Interval {
  at: number;
  low: number;
  high: number;
}

const Z = 1.959964;

/** What 95 % of Student's t lie within, by degrees of freedom; beyond the table it is the normal's. */
const T: [number, number][] = [
  [1, 12.706], [2, 4.303], [3, 3.182], [4, 2.776], [5, 2.571], [6, 2.447], [7, 2.365], [8, 2.306], [9, 2.262],
  [10, 2.228], [12, 2.179], [15, 2.131], [20, 2.086], [30, 2.042], [60, 2.0], [120, 1.98],
];

/** The value for at least so many degrees; rounded to the safe side. */
function t(degrees: number): number {
  return T.findLast(([most]) => most <= degrees)?.[1] ?? Infinity;
}

/** A share of `of`; null where there is nothing to have a share of. */
export function share(part: number, of: number): Interval | null {
  if (of === 0) return null;
  const at = part / of;
  const middle = (at + (Z * Z) / (2 * of)) / (1 + (Z * Z) / of);
  const half = (Z / (1 + (Z * Z) / of)) * Math.sqrt((at * (1 - at)) / of + (Z * Z) / (4 * of * of));
  return { at, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** How much larger the second share is. */
export function betweenShares(a: Interval, b: Interval): Interval {
  const at = b.at - a.at;
  return { at, low: at - Math.hypot(b.at - b.low, a.high - a.at), high: at + Math.hypot(b.high - b.at, a.at - a.low) };
}

export interface Mean extends Interval {
  /** Its standard error, and of how many. */
  error: number;
  count: number;
}

/**
 * The mean of `count` values of which `sample` are known by themselves: `at` is exact, how far it
 * may be off is taken from the sample. Null for less than two.
 */
export function mean(at: number, count: number, sample: readonly number[]): Mean | null {
  if (sample.length < 2 || count < 2) return null;
  const middle = sample.reduce((sum, value) => sum + value, 0) / sample.length;
  const variance = sample.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (sample.length - 1);
  const error = Math.sqrt(variance / count);
  const half = t(sample.length - 1) * error;
  return { at, low: at - half, high: at + half, error, count };
}

/** How much larger the second mean is. */
export function betweenMeans(a: Mean, b: Mean): Interval {
  const at = b.at - a.at;
  const [x, y] = [a.error ** 2, b.error ** 2];
  const degrees = x + y === 0 ? Infinity : (x + y) ** 2 / (x ** 2 / (a.count - 1) + y ** 2 / (b.count - 1));
  const half = t(Math.floor(degrees)) * Math.sqrt(x + y);
  return { at, low: at - half, high: at + half };
}

/** A percentile of a sample, between the two of it that hold it in 95 of 100 cases. */
export function percentile(sample: readonly number[], p: number): Interval | null {
  if (sample.length < 8) return null;
  const sorted = sample.toSorted((x, y) => x - y);
  const n = sorted.length;
  const half = Z * Math.sqrt(n * p * (1 - p));
  const value = (rank: number) => sorted[Math.min(n - 1, Math.max(0, rank))] ?? 0;
  return { at: value(Math.ceil(n * p) - 1), low: value(Math.floor(n * p - half)), high: value(Math.ceil(n * p + half)) };
}

/** Whether the interval of a difference leaves 0 out: on which side; 0: nothing can be said. */
export const side = ({ low, high }: Interval): -1 | 0 | 1 => (low > 0 ? 1 : high < 0 ? -1 : 0);
