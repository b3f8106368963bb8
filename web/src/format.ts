/** How numbers, money and times are written. Everywhere the same, and exact on demand. */

const NANOS = 1e9;
const group = new Intl.NumberFormat('en-US');

/** At most three significant digits, with k, M, G behind it from 10 000 on. */
export function count(value: number): string {
  if (Math.abs(value) < 10_000) return group.format(Math.round(value));
  return scaled(value);
}

function scaled(value: number): string {
  const units: [number, string][] = [
    [1e12, 'T'],
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ];
  for (const [size, name] of units) {
    // 999 950 is 1 M and not 1 000 k.
    if (Math.abs(value) >= size * 0.9995) return trimmed(value / size, 3) + name;
  }
  return trimmed(value, 3);
}

/** So many significant digits, but no digit before the point is lost, and no zero at the end. */
function trimmed(value: number, digits: number): string {
  const whole = Math.max(1, Math.floor(Math.log10(Math.abs(value) || 1)) + 1);
  const text = value.toFixed(Math.max(0, digits - whole));
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** Every digit, with separators: for titles and tables of sums. */
export const exact = (value: number): string => group.format(value);

/**
 * Dollars, in as many digits as they need: `$0.000042`, `$0.0123`, `$12.34`, `$1.2k`. Zero is only
 * what is zero to the last nano-dollar.
 */
export function money(nanousd: number): string {
  const dollars = nanousd / NANOS;
  const size = Math.abs(dollars);
  if (nanousd === 0) return '$0';
  const sign = dollars < 0 ? '−$' : '$';
  if (size >= 10_000) return sign + scaled(size);
  if (size >= 100) return sign + group.format(Math.round(size));
  if (size >= 1) return sign + size.toFixed(2);
  const places = Math.min(9, Math.ceil(-Math.log10(size)) + (size >= 0.001 ? 2 : 1));
  const text = size.toFixed(places);
  // At least cents: $0.20, not $0.2.
  return sign + text.replace(/0+$/, '').padEnd(4, '0');
}

/** Dollars to the last nano-dollar. */
export function exactMoney(nanousd: number): string {
  const whole = Math.trunc(nanousd / NANOS);
  const rest = String(Math.abs(nanousd % NANOS)).padStart(9, '0').replace(/0+$/, '');
  return `$${group.format(whole)}${rest && `.${rest}`}`;
}

/** A duration of microseconds: `840 µs`, `12.3 ms`, `1.25 s`, `3 m 20 s`. */
export function duration(us: number): string {
  if (us < 1_000) return `${Math.round(us)} µs`;
  if (us < 999_500) return `${trimmed(us / 1_000, 3)} ms`;
  if (us < 59_995_000) return `${trimmed(us / 1_000_000, 3)} s`;
  const seconds = Math.round(us / 1_000_000);
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor((seconds % 3_600) / 60)];
  const parts = hours > 0 ? [`${hours} h`, minutes && `${minutes} m`] : [`${minutes} m`, seconds % 60 && `${seconds % 60} s`];
  return parts.filter(Boolean).join(' ');
}

/** A share: `0%`, `<0.1%`, `1.4%`, `99.97%`. */
export function share(part: number, of: number): string {
  if (of === 0) return '–';
  const percent = (part / of) * 100;
  if (percent === 0 || percent === 100) return `${percent}%`;
  if (percent < 0.1) return '<0.1%';
  if (percent > 99.99) return '>99.99%';
  return `${percent.toFixed(percent > 99 ? 2 : percent < 10 ? 1 : 0)}%`;
}

/** Binary sizes. */
export function bytes(size: number): string {
  if (size < 1_024) return `${size} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  const step = Math.min(units.length, Math.floor(Math.log(size) / Math.log(1_024)));
  return `${trimmed(size / 1_024 ** step, 3)} ${units[step - 1]}`;
}

const two = (value: number) => String(value).padStart(2, '0');
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** The local time of day, to the second or the millisecond. */
export function clock(date: Date, withMillis = false): string {
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return withMillis ? `${text}.${String(date.getMilliseconds()).padStart(3, '0')}` : text;
}

export const day = (date: Date): string => `${MONTHS[date.getMonth()]} ${date.getDate()}`;

/** Local date and time, as short as `now` allows: today needs no date, this year no year. */
export function moment(date: Date, now: Date): string {
  const time = clock(date);
  if (date.toDateString() === now.toDateString()) return time;
  const year = date.getFullYear() === now.getFullYear() ? '' : `${date.getFullYear()} `;
  return `${year}${day(date)} ${time}`;
}
