// Makes a screenshot small: an indexed PNG of its most frequent colours. Pages have few.

import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const COLOURS = 240;

function chunk(type, data) {
  const whole = Buffer.concat([Buffer.from(type), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(whole));
  return Buffer.concat([length, whole, sum]);
}

/** Pixels of an RGB or RGBA image of eight bits, three bytes each (PNG, section 9: filters). */
function pixels(png) {
  let [width, height, deep] = [0, 0, 3];
  const data = [];
  for (let at = 8; at < png.length;) {
    const [length, type] = [png.readUInt32BE(at), png.toString('latin1', at + 4, at + 8)];
    const body = png.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') [width, height, deep] = [body.readUInt32BE(0), body.readUInt32BE(4), body[9] === 6 ? 4 : 3];
    if (type === 'IDAT') data.push(body);
    at += 12 + length;
  }
  const [raw, long] = [inflateSync(Buffer.concat(data)), width * deep];
  let before = Buffer.alloc(long);
  const rgb = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (long + 1)];
    const line = Buffer.from(raw.subarray(y * (long + 1) + 1, (y + 1) * (long + 1)));
    for (let x = 0; x < long; x += 1) {
      const [a, b, c] = [x < deep ? 0 : line[x - deep], before[x], x < deep ? 0 : before[x - deep]];
      const p = a + b - c;
      const paeth = Math.abs(p - a) <= Math.abs(p - b) && Math.abs(p - a) <= Math.abs(p - c) ? a : Math.abs(p - b) <= Math.abs(p - c) ? b : c;
      line[x] += [0, a, b, (a + b) >> 1, paeth][filter];
    }
    for (let x = 0; x < width; x += 1) line.copy(rgb, (y * width + x) * 3, x * deep, x * deep + 3);
    before = line;
  }
  return { width, height, rgb };
}

export function small(png) {
  const { width, height, rgb } = pixels(png);
  const counts = new Map();
  const colour = (at) => (rgb[at] << 16) | (rgb[at + 1] << 8) | rgb[at + 2];
  for (let at = 0; at < rgb.length; at += 3) counts.set(colour(at), (counts.get(colour(at)) ?? 0) + 1);
  const palette = [...counts].sort(([, a], [, b]) => b - a).slice(0, COLOURS).map(([one]) => one);
  const apart = (a, b) => ((a >> 16) - (b >> 16)) ** 2 + (((a >> 8) & 255) - ((b >> 8) & 255)) ** 2 + ((a & 255) - (b & 255)) ** 2;
  const nearest = new Map([...counts.keys()].map((one) => [one, palette.reduce((best, other, index) => (apart(one, other) < apart(one, palette[best]) ? index : best), 0)]));
  const lines = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) lines[y * (width + 1) + 1 + x] = nearest.get(colour((y * width + x) * 3));
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8);
  return Buffer.concat([SIGNATURE, chunk('IHDR', head), chunk('PLTE', Buffer.from(palette.flatMap((one) => [one >> 16, (one >> 8) & 255, one & 255]))), chunk('IDAT', deflateSync(lines, { level: 9 })), chunk('IEND', Buffer.alloc(0))]);
}
