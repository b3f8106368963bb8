/**
 * How a quantity is spread, from its percentiles: as the API has them, out of histograms. Between two
 * percentiles lie as many as their distance says, taken to be even on a scale of logarithms.
 */

/** Percentiles that tell a distribution, with the shares below them. */
export const QUANTILES: [name: string, share: number][] = [
  ['min', 0],
  ...Array.from({ length: 19 }, (_, n): [string, number] => [`p${(n + 1) * 5}`, (n + 1) * 0.05]),
  ['p99', 0.99],
  ['max', 1],
];

export const measures = (quantity: string): string[] => QUANTILES.map(([name]) => `${name}:${quantity}`);

/** So many cells of equal height on a scale of logarithms, that hold all that is between two values. */
export function edges(least: number, most: number, cells: number): number[] {
  const low = Math.log(Math.max(1, least));
  const high = Math.max(Math.log(Math.max(1, most)), low + 0.01);
  return Array.from({ length: cells + 1 }, (_, n) => Math.exp(low + ((high - low) * n) / cells));
}

/** Which share lies in each cell; they sum to 1. `values` are in the order of `QUANTILES`. */
export function spread(values: readonly (number | null | undefined)[], bounds: readonly number[]): number[] {
  const found = bounds.slice(1).map(() => 0);
  for (let n = 1; n < QUANTILES.length; n += 1) {
    const [from, to] = [values[n - 1], values[n]];
    if (from == null || to == null) continue;
    add(found, bounds, Math.max(1, from), Math.max(1, to), (QUANTILES[n]?.[1] ?? 0) - (QUANTILES[n - 1]?.[1] ?? 0));
  }
  return found;
}

function add(found: number[], bounds: readonly number[], from: number, to: number, share: number) {
  const last = found.length - 1;
  if (to <= from) {
    const at = bounds.findIndex((edge) => edge > from);
    const cell = at < 0 ? last : Math.max(0, at - 1);
    found[cell] = (found[cell] ?? 0) + share;
    return;
  }
  const long = Math.log(to) - Math.log(from);
  for (let cell = 0; cell <= last; cell += 1) {
    // What lies beyond the ends counts in the first and last cell.
    const low = cell === 0 ? from : Math.max(from, bounds[cell] ?? from);
    const high = cell === last ? to : Math.min(to, bounds[cell + 1] ?? to);
    if (high > low) found[cell] = (found[cell] ?? 0) + (share * (Math.log(high) - Math.log(low))) / long;
  }
}
