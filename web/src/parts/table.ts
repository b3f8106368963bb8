/** The columns of a table as its reader wants them, and which of its rows are in view. */

export interface Column<R> {
  id: string;
  name: string;
  width: number;
  number?: boolean;
  /** What it can be sorted by. */
  sort?: string;
  /** What a row shows there, as plain text: for narrow reading and for copying. */
  text: (row: R) => string;
}

export interface Chosen {
  id: string;
  width: number;
}

const NARROWEST = 44;
const WIDEST = 900;

/** `time,model:220,cost`; ids that there are not are passed over. Empty: the default. */
export function chosen<R>(text: string, all: readonly Column<R>[], usual: readonly string[]): Chosen[] {
  const wanted = text === '' ? [...usual] : text.split(',');
  const seen = new Set<string>();
  return wanted.flatMap((one) => {
    const [id = '', width = ''] = one.split(':');
    const column = all.find((known) => known.id === id);
    if (!column || seen.has(id)) return [];
    seen.add(id);
    return [{ id, width: within(Number(width) || column.width) }];
  });
}

export const within = (width: number): number => Math.round(Math.min(WIDEST, Math.max(NARROWEST, width)));

export function spelled<R>(columns: readonly Chosen[], all: readonly Column<R>[]): string {
  return columns
    .map(({ id, width }) => (all.find((one) => one.id === id)?.width === width ? id : `${id}:${width}`))
    .join(',');
}

/** Moves a column to another place. */
export function moved(columns: readonly Chosen[], id: string, to: number): Chosen[] {
  const from = columns.findIndex((one) => one.id === id);
  const one = columns[from];
  if (!one) return [...columns];
  const rest = columns.filter((other) => other !== one);
  return rest.toSpliced(Math.min(rest.length, Math.max(0, to)), 0, one);
}

/** Rows beyond the view that are drawn too, so that a quick hand sees no gap. */
const SPARE = 8;

export function inView(top: number, height: number, row: number, count: number): { from: number; to: number } {
  const from = Math.max(0, Math.floor(top / row) - SPARE);
  const to = Math.min(count, Math.ceil((top + height) / row) + SPARE);
  return { from: Math.min(from, to), to };
}
