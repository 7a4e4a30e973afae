/**
 * A PNG decoder: browsers differ on 16 bits, transparency and gamma, this one does as Pillow does.
 *
 * 16 bits are cut to their high byte, colour profiles are ignored, and a file whose checksums are wrong is refused.
 */

import { textAt } from "./headers.js";

const SIGNATURE_BYTES = 8;
const GREY = 0;
const RGB = 2;
const PALETTE = 3;
const GREY_ALPHA = 4;
const RGB_ALPHA = 6;
const CHANNELS = { [GREY]: 1, [RGB]: 3, [PALETTE]: 1, [GREY_ALPHA]: 2, [RGB_ALPHA]: 4 };
const DEPTHS = {
  [GREY]: [1, 2, 4, 8, 16],
  [RGB]: [8, 16],
  [PALETTE]: [1, 2, 4, 8],
  [GREY_ALPHA]: [8, 16],
  [RGB_ALPHA]: [8, 16],
};
const WHOLE = [{ x: 0, y: 0, dx: 1, dy: 1 }];
const ADAM7 = [
  { x: 0, y: 0, dx: 8, dy: 8 },
  { x: 4, y: 0, dx: 8, dy: 8 },
  { x: 0, y: 4, dx: 4, dy: 8 },
  { x: 2, y: 0, dx: 4, dy: 4 },
  { x: 0, y: 2, dx: 2, dy: 4 },
  { x: 1, y: 0, dx: 2, dy: 2 },
  { x: 0, y: 1, dx: 1, dy: 2 },
];

/**
 * Return a PNG as `{picture, exif}`: its pixels as RGBA, and where its EXIF block starts (null: it has none).
 *
 * @param {Uint8Array} bytes
 * @throws {Error} where the file is damaged
 */
export async function decodePng(bytes) {
  const file = readChunks(bytes);
  const passes = passesOf(file);
  const packed = await inflated(file.data, passes.reduce((sum, pass) => sum + pass.rows * (1 + pass.rowBytes), 0));
  const data = new Uint8ClampedArray(file.width * file.height * 4);
  let at = 0;
  for (const pass of passes) {
    let above = new Uint8Array(pass.rowBytes);
    for (let row = 0; row < pass.rows; row++, at += 1 + pass.rowBytes) {
      const line = packed.subarray(at + 1, at + 1 + pass.rowBytes);
      unfilter(packed[at], line, above, file.pixelBytes);
      paint(line, pass, row, file, data);
      above = line;
    }
  }
  return { picture: { width: file.width, height: file.height, data }, exif: file.exif };
}

// ── the file ────────────────────────────────────────────────────────────────────────────────────────

/** A PNG is a sequence of chunks: length, name, content, checksum of name and content. */
function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const file = { data: [], palette: [], transparency: null, exif: null };
  for (let at = SIGNATURE_BYTES, name = ""; name !== "IEND"; ) {
    const content = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    const end = at + 8 + content.length;
    name = textAt(bytes, at + 4, 4);
    if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) throw new Error(`broken chunk ${name}`);
    CHUNKS[name]?.(file, content, at + 8);
    at = end + 4;
  }
  file.sample = sampler(file.depth);
  file.colour = COLOURS[file.kind](file);
  return file;
}

const CHUNKS = {
  IHDR: readFormat,
  PLTE: (file, content) => (file.palette = content),
  tRNS: (file, content) => (file.transparency = content),
  eXIf: (file, content, at) => (file.exif = at),
  IDAT: (file, content) => file.data.push(content),
};

function readFormat(file, content) {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, kind, , , interlaced] = content.subarray(8);
  if (!DEPTHS[kind]?.includes(depth)) throw new Error(`kind ${kind} with ${depth} bits`);
  const pixelBytes = Math.ceil((depth * CHANNELS[kind]) / 8);
  Object.assign(file, { width, height, depth, kind, interlaced, pixelBytes });
}

function passesOf({ width, height, depth, kind, interlaced }) {
  return (interlaced ? ADAM7 : WHOLE)
    .map((pass) => {
      const [columns, rows] = [Math.ceil((width - pass.x) / pass.dx), Math.ceil((height - pass.y) / pass.dy)];
      return { ...pass, columns, rows, rowBytes: Math.ceil((columns * depth * CHANNELS[kind]) / 8) };
    })
    .filter((pass) => pass.columns > 0 && pass.rows > 0);
}

/** Return exactly `size` bytes that `parts` inflate to; never more is unpacked, however much is in there. */
async function inflated(parts, size) {
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const whole = new Uint8Array(size);
  for (let at = 0; at < size; ) {
    const { value, done } = await reader.read();
    if (done) throw new Error("its pixels end too early");
    whole.set(value.subarray(0, size - at), at);
    at += value.length;
  }
  reader.cancel().catch(() => {}); // what comes after the pixels does not matter
  return whole;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// ── the pixels ──────────────────────────────────────────────────────────────────────────────────────

/** What each filter took away from a byte: of `a` to the left, `b` above, `c` above to the left. */
const FILTERS = [() => 0, (a) => a, (a, b) => b, (a, b) => (a + b) >> 1, paeth];

function unfilter(kind, line, above, pixelBytes) {
  const filter = FILTERS[kind];
  if (!filter) throw new Error(`unknown filter ${kind}`);
  for (let i = 0; i < line.length; i++) {
    const inside = i >= pixelBytes;
    line[i] += filter(inside ? line[i - pixelBytes] : 0, above[i], inside ? above[i - pixelBytes] : 0);
  }
}

function paeth(a, b, c) {
  const [toA, toB, toC] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  if (toA <= toB && toA <= toC) return a;
  return toB <= toC ? b : c;
}

/** Write a line's pixels to where they belong. */
function paint(line, pass, row, file, data) {
  let to = 4 * ((pass.y + row * pass.dy) * file.width + pass.x);
  for (let column = 0; column < pass.columns; column++, to += 4 * pass.dx) file.colour(line, column, data, to);
}

/** Kind of file → a function that writes the pixel in column `x` of a line as red, green, blue, alpha. */
const COLOURS = {
  [GREY]: greyWriter,
  [RGB]: (file) => (line, x, data, to) => {
    for (let i = 0; i < 3; i++) data[to + i] = file.sample(line, 3 * x + i);
    data[to + 3] = isKey(file.transparency, data, to) ? 0 : 255;
  },
  [PALETTE]: (file) => (line, x, data, to) => {
    const index = file.sample(line, x);
    for (let i = 0; i < 3; i++) data[to + i] = file.palette[3 * index + i];
    data[to + 3] = file.transparency?.[index] ?? 255;
  },
  [GREY_ALPHA]: (file) => (line, x, data, to) => {
    data.fill(file.sample(line, 2 * x), to, to + 3);
    data[to + 3] = file.sample(line, 2 * x + 1);
  },
  [RGB_ALPHA]: (file) => (line, x, data, to) => {
    for (let i = 0; i < 4; i++) data[to + i] = file.sample(line, 4 * x + i);
  },
};

/** Grey has one transparent value; Pillow compares it with what is shown, and only 16 bits as they are stored. */
function greyWriter({ depth, sample, transparency }) {
  const scale = depth < 8 ? 255 / (2 ** depth - 1) : 1;
  const stored = transparency && transparency[0] * 256 + transparency[1];
  const key = depth === 1 && stored ? 255 : stored;
  return (line, x, data, to) => {
    const grey = sample(line, x) * scale;
    data.fill(grey, to, to + 3);
    data[to + 3] = key === (depth === 16 ? line[2 * x] * 256 + line[2 * x + 1] : grey) ? 0 : 255;
  };
}

/** Colour has one transparent value, too; of 16 bits Pillow compares the lower byte of it. */
function isKey(transparency, data, at) {
  return transparency !== null && [0, 1, 2].every((i) => data[at + i] === transparency[2 * i + 1]);
}

/** Return the function that reads the sample with index `i` in a line: 8 bits, or as few as there are. */
function sampler(depth) {
  if (depth === 8) return (line, i) => line[i];
  if (depth === 16) return (line, i) => line[2 * i];
  const inByte = 8 / depth;
  return (line, i) => (line[Math.floor(i / inByte)] >> (8 - depth * (1 + (i % inByte)))) & (2 ** depth - 1);
}
