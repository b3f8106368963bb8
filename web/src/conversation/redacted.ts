/** What rules of redaction left in the place of what they took out: `[redacted:card]`, `[order:5d2f…]`. */

const LEFT = /\[redacted:([\w.-]{1,64})\]|\[([\w.-]{1,64}):[0-9a-f]{16}\]/g;

export interface Part {
  text: string;
  /** Name of the rule or detector; null: what was said. */
  rule: string | null;
}

/** A text in parts, in order; nothing of it is left out. */
export function parted(text: string): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(LEFT)) {
    if (match.index > from) parts.push({ text: text.slice(from, match.index), rule: null });
    parts.push({ text: match[0], rule: match[1] ?? match[2] ?? '' });
    from = match.index + match[0].length;
  }
  if (from < text.length || parts.length === 0) parts.push({ text: text.slice(from), rule: null });
  return parts;
}

/** How often each rule left something in these texts, the most frequent first. */
export function redactions(texts: (string | null)[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const match of (text ?? '').matchAll(LEFT)) {
      const rule = match[1] ?? match[2] ?? '';
      counts.set(rule, (counts.get(rule) ?? 0) + 1);
    }
  }
  return [...counts].toSorted(([, a], [, b]) => b - a);
}
