/**
 * What a picture file says before a pixel is decoded: its format, its size, and where its EXIF block is.
 *
 * The same formats are let in as in `finetune_export.image_gate`, recognised by their first bytes. Files that are cut
 * off are found here, too: some browsers show what is left of them.
 */

export const FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF"];

const EXIF_START = "Exif\0\0";
const START_OF_SCAN = 0xda;
const END_OF_IMAGE = 0xd9;
const APP1 = 0xe1;
const EXTENSION = 0x21;
const FRAME = 0x2c; // both start a block of a GIF
const NO_FRAMES = [0xc4, 0xc8, 0xcc]; // markers among those of frames that start none
const READERS = { JPEG: readJpeg, PNG: readPng, WEBP: readWebp, BMP: readBmp, GIF: readGif };

/**
 * Return `{format, width, height, exif}`, or null for a file in no known format.
 *
 * `width` and `height` are those stored; `exif` is where the EXIF block's TIFF header starts, or null.
 *
 * @param {Uint8Array} bytes
 * @throws {Error} where the file ends too early
 */
export function readHeader(bytes) {
  const format = formatOf(bytes);
  if (format === null) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { format, exif: null, ...READERS[format](bytes, view) };
}

/** Return `length` bytes as text, one character each. */
export function textAt(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

function formatOf(bytes) {
  const start = textAt(bytes, 0, 12);
  if (start.startsWith("\xff\xd8\xff")) return "JPEG";
  if (start.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (start.startsWith("RIFF") && start.endsWith("WEBP")) return "WEBP";
  if (start.startsWith("GIF87a") || start.startsWith("GIF89a")) return "GIF";
  return start.startsWith("BM") ? "BMP" : null;
}

/** A JPEG is a sequence of segments: FF, marker, length (two bytes, which it counts), content. */
function readJpeg(bytes, view) {
  const found = {};
  let at = 2;
  for (;;) {
    const marker = view.getUint16(at) & 0xff;
    if (marker === 0xff) at += 1; // padding
    else if (marker === START_OF_SCAN) break;
    else {
      if (marker === APP1 && textAt(bytes, at + 4, 6) === EXIF_START) found.exif ??= at + 10;
      if (startsFrame(marker)) Object.assign(found, { height: view.getUint16(at + 5), width: view.getUint16(at + 7) });
      at += 2 + view.getUint16(at + 2);
    }
  }
  checkJpegEnd(bytes, at);
  return found;
}

/** In what follows the start of a scan, a byte FF is a marker's. */
function checkJpegEnd(bytes, scan) {
  let at = bytes.length - 2;
  while (at > scan && (bytes[at] !== 0xff || bytes[at + 1] !== END_OF_IMAGE)) at -= 1;
  if (at === scan) throw cutOff();
}

function startsFrame(marker) {
  return marker >= 0xc0 && marker <= 0xcf && !NO_FRAMES.includes(marker);
}

function readPng(bytes, view) {
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

/** A WebP is a sequence of chunks: name, length, content, padding to an even length; the first has the size. */
function readWebp(bytes, view) {
  const first = textAt(bytes, 12, 4);
  if (!(first in WEBP_SIZES)) throw new Error(`unknown chunk ${first}`);
  const found = WEBP_SIZES[first](view);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    if (textAt(bytes, at, 4) === "EXIF") found.exif ??= at + 8 + (textAt(bytes, at + 8, 6) === EXIF_START ? 6 : 0);
    at += 8 + length + (length % 2);
  }
  return found;
}

const WEBP_SIZES = {
  "VP8 ": (view) => ({ width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff }),
  VP8L: (view) => fourteenBits(view.getUint32(21, true)),
  VP8X: (view) => ({ width: 1 + (view.getUint32(24, true) & 0xffffff), height: 1 + (view.getUint32(26, true) >>> 8) }),
};

function fourteenBits(both) {
  return { width: 1 + (both & 0x3fff), height: 1 + ((both >>> 14) & 0x3fff) };
}

function readBmp(bytes, view) {
  const isOld = view.getUint32(14, true) === 12;
  const width = isOld ? view.getUint16(18, true) : view.getInt32(18, true);
  const height = isOld ? view.getUint16(20, true) : Math.abs(view.getInt32(22, true));
  const isPacked = !isOld && [1, 2].includes(view.getUint32(30, true)); // run lengths
  const line = 4 * Math.ceil((width * view.getUint16(isOld ? 24 : 28, true)) / 32);
  if (!isPacked && view.getUint32(10, true) + line * height > bytes.length) throw cutOff();
  return { width, height };
}

/** A GIF is a header, a colour table, and blocks; each is a sequence of parts with their length, the last of zero. */
function readGif(bytes, view) {
  let at = 13 + colourTable(bytes[10]);
  while (view.getUint8(at) === EXTENSION) at = endOfParts(view, at + 2);
  if (view.getUint8(at) !== FRAME) throw new Error("it has no frame");
  endOfParts(view, at + 11 + colourTable(bytes[at + 9]));
  return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
}

function colourTable(flags) {
  return flags & 0x80 ? 3 * 2 ** (1 + (flags & 7)) : 0;
}

function endOfParts(view, start) {
  let at = start;
  for (let length = 1; length > 0; at += 1 + length) length = view.getUint8(at);
  return at;
}

function cutOff() {
  return new Error("it ends too early");
}
