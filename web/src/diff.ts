/** Line by line, what two texts have in common and what each has alone. */

export interface Line {
  kind: 'same' | 'left' | 'right';
  text: string;
}

/** Pairs of lines that are compared at most; beyond that the middle is shown as replaced. */
const MOST = 4_000_000;

/** Lines of `left` that are gone, of `right` that are new, in the order of both. */
export function diff(left: string, right: string): Line[] {
  const [a, b] = [left.split('\n'), right.split('\n')];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  const same = (lines: string[]): Line[] => lines.map((text) => ({ kind: 'same', text }));
  return [
    ...same(a.slice(0, head)),
    ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...same(a.slice(a.length - tail)),
  ];
}

/** The longest common subsequence, by the table of its lengths. */
function middle(a: string[], b: string[]): Line[] {
  const left = (text: string): Line => ({ kind: 'left', text });
  const right = (text: string): Line => ({ kind: 'right', text });
  if (a.length * b.length > MOST) return [...a.map(left), ...b.map(right)];
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number) => lengths[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: Line[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [one, other] = [a[i], b[j]];
    if (one !== undefined && one === other) {
      lines.push({ kind: 'same', text: one });
      i += 1;
      j += 1;
    } else if (other === undefined || (one !== undefined && at(i + 1, j) >= at(i, j + 1))) {
      lines.push(left(one ?? ''));
      i += 1;
    } else {
      lines.push(right(other));
      j += 1;
    }
  }
  return lines;
}
