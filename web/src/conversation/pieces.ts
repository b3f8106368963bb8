/** Long texts in pieces, so that a browser lays out only those that are in view. */

const PIECE = 16_384;

/** Cuts at line ends where there are any near, and never within a surrogate pair. */
export function pieces(text: string, size = PIECE): string[] {
  if (text.length <= size) return [text];
  const found: string[] = [];
  for (let at = 0; at < text.length; ) {
    let end = Math.min(text.length, at + size);
    if (end < text.length) {
      const line = text.lastIndexOf('\n', end);
      if (line > at + size / 2) end = line + 1;
      else if (/[\uD800-\uDBFF]/.test(text.charAt(end - 1))) end -= 1;
    }
    found.push(text.slice(at, end));
    at = end;
  }
  return found;
}

export interface Found {
  /** Places of the matches, in order; at most `MOST`. */
  at: number[];
  more: boolean;
}

export const MOST = 1_000;

/** Where a text occurs, regardless of case. */
export function occurrences(text: string, needle: string): Found {
  const at: number[] = [];
  if (needle === '') return { at, more: false };
  const [hay, sought] = [text.toLowerCase(), needle.toLowerCase()];
  for (let from = hay.indexOf(sought); from !== -1; from = hay.indexOf(sought, from + sought.length)) {
    if (at.length === MOST) return { at, more: true };
    at.push(from);
  }
  return { at, more: false };
}
