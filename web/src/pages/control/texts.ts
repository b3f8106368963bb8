/** Lists and tables of texts as a line of a form, and back. */

/** `a, b` */
export const listed = (text: string): string[] => text.split(',').map((one) => one.trim()).filter(Boolean);

/** `name=value|other, more=value` */
export function tabled(text: string): Record<string, string[]> {
  const pairs = listed(text).map((one): [string, string[]] => {
    const [name = '', value = ''] = one.split(/=(.*)/s);
    return [name.trim(), value.split('|').map((part) => part.trim()).filter(Boolean)];
  });
  return Object.fromEntries(pairs.filter(([name, values]) => name !== '' && values.length > 0));
}

export const untabled = (table: Record<string, string[]> = {}): string =>
  Object.entries(table).map(([name, values]) => `${name}=${values.join('|')}`).join(', ');
