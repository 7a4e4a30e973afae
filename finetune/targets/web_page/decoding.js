/**
 * From a picture file to an upright RGB picture, by the rules of `finetune_export.image`.
 *
 * First frame, EXIF orientation applied, transparency over white, 16 bits by their high byte, no colour conversion. PNG
 * is decoded here, the other formats by the browser.
 */

import { FORMATS, readHeader } from "./headers.js";
import { orientationOf, turned, withoutOrientation } from "./orientation.js";
import { decodePng } from "./png.js";

const MAX_BYTES = 64 * 2 ** 20;
const MAX_PIXELS = 100_000_000;
const MAX_SIDE_PX = 32_768;
const STRIP_PIXELS = 2 ** 22; // phones allow canvases of a few million pixels only

/** A picture that is refused; its message is a whole sentence for the person who chose it. */
export class PictureError extends Error {}

/**
 * Return a picture file as `{width, height, data}`, upright, RGB, a byte each.
 *
 * @param {Blob} file
 * @throws {PictureError} with the reason why it is refused
 */
export async function decode(file) {
  if (file.size === 0) throw new PictureError("The file is empty.");
  if (file.size > MAX_BYTES) {
    throw new PictureError(`The file has ${file.size} bytes; at most ${MAX_BYTES} are allowed.`);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = await orDamaged(() => readHeader(bytes));
  checkHeader(header);
  return orDamaged(async () => {
    const decoder = header.format === "PNG" ? decodePng : decodeByBrowser;
    const { picture, exif } = await decoder(bytes, header.exif);
    return turned(overWhite(picture), orientationOf(bytes, exif));
  });
}

/**
 * Return what a canvas context shows in its upper left corner as an RGB picture.
 */
export function readCanvas(context, width, height) {
  return overWhite({ width, height, data: context.getImageData(0, 0, width, height).data });
}

async function orDamaged(work) {
  try {
    return await work();
  } catch (error) {
    throw new PictureError(`The picture is cut off or damaged (${error.message.replace(/\.$/, "")}).`);
  }
}

function checkHeader(header) {
  if (!header) throw new PictureError(`This is not a picture in a known format; allowed are ${FORMATS.join(", ")}.`);
  const { width, height } = header;
  const size = `The picture has ${width} × ${height} pixels`;
  if (!(width >= 1 && height >= 1)) throw new PictureError(`${size}; a picture has at least one.`);
  if (Math.max(width, height) > MAX_SIDE_PX) throw new PictureError(`${size}; a side may have at most ${MAX_SIDE_PX}.`);
  if (width * height > MAX_PIXELS) throw new PictureError(`${size}; at most ${MAX_PIXELS} are allowed altogether.`);
}

async function decodeByBrowser(bytes, exif) {
  const blob = new Blob([withoutOrientation(bytes, exif)]);
  const bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  try {
    return { picture: readBitmap(bitmap), exif };
  } finally {
    bitmap.close();
  }
}

/** Return a bitmap's pixels as RGBA. */
function readBitmap(bitmap) {
  const { width, height } = bitmap;
  const data = new Uint8ClampedArray(width * height * 4);
  const rows = Math.min(height, Math.ceil(STRIP_PIXELS / width));
  const context = new OffscreenCanvas(width, rows).getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < height; top += rows) {
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const strip = context.getImageData(0, 0, width, Math.min(rows, height - top));
    data.set(strip.data, top * width * 4);
  }
  return { width, height, data };
}

/**
 * Lay RGBA over white, rounded as Pillow's `alpha_composite` does: fixed point with seven bits.
 */
function overWhite({ width, height, data }) {
  const rgb = new Uint8ClampedArray(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const alpha = data[from + 3];
    for (let i = 0; i < 3; i++) rgb[to++] = blended(data[from + i], alpha);
  }
  return { width, height, data: rgb };
}

function blended(value, alpha) {
  const sum = value * alpha * 128 + 255 * (255 - alpha) * 128 + 0x4000;
  return ((sum >> 8) + sum) >> 15;
}
