/**
 * The preprocessing: from an upright RGB picture to the pixels that the network sees.
 *
 * It gives, bit for bit, what `finetune_export.image.to_pixels` gives: the centre square, cut and resized in one step,
 * bilinear with antialiasing, as Pillow's `resize(box=…)` does it since version 13: the corners of the box as 32-bit
 * floats, and two passes, one for each axis, with weights in fixed point and a rounding to 8 bits in between.
 *
 * A picture is `{width, height, data}`: `data` holds red, green and blue of each pixel, a byte each, row by row.
 */

const CHANNELS = 3;
const PRECISION_BITS = 22;
const HALF = 2 ** (PRECISION_BITS - 1);

/**
 * Return the largest centred square of a picture, its side scaled by `cropFraction`: left, top, right, bottom.
 */
export function centreBox(width, height, cropFraction) {
  const side = Math.min(width, height) * cropFraction;
  return [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2];
}

/**
 * Return a picture as the network sees it: size × size pixels, RGB.
 *
 * @param {{width: number, height: number, data: Uint8ClampedArray}} picture
 * @param {{image_size_px: number, crop_fraction: number}} preprocessing the contract's
 * @returns {Uint8ClampedArray} size · size · 3 bytes
 */
export function toPixels(picture, preprocessing) {
  const { width, height } = picture;
  const size = preprocessing.image_size_px;
  const [left, top, right, bottom] = centreBox(width, height, preprocessing.crop_fraction).map(Math.fround);
  const across = (lines) => resizedAcross(lines, kernels(left, right, width, size));
  const down = (columns) => resizedDown(columns, kernels(top, bottom, height, size));
  return (isDownFirst(width, height, size) ? across(down(picture)) : down(across(picture))).data;
}

/** Pillow begins with the height where that is the one that shrinks most; the rounding in between makes it matter. */
function isDownFirst(width, height, size) {
  return height > size && height - size > 2 * (width - size);
}

function resizedAcross({ width, height, data }, columns) {
  const made = empty(columns.length, height);
  for (let y = 0; y < height; y++) {
    convolve(data, y * width * CHANNELS, CHANNELS, columns, made.data, y * made.width * CHANNELS, CHANNELS);
  }
  return made;
}

function resizedDown({ width, data }, rows) {
  const made = empty(width, rows.length);
  const line = width * CHANNELS;
  for (let x = 0; x < width; x++) convolve(data, x * CHANNELS, line, rows, made.data, x * CHANNELS, line);
  return made;
}

function empty(width, height) {
  return { width, height, data: new Uint8ClampedArray(width * height * CHANNELS) };
}

/**
 * Return, for each of `size` pixels to be made, which pixels of a line of `length` it is made of, and their weights.
 *
 * A triangle is laid over the pixels from `from` to `to`, as wide as two of the pixels to be made (or to be read,
 * whichever is wider), and cut off where the line ends.
 */
function kernels(from, to, length, size) {
  const scale = Math.fround(to - from) / size;
  const reach = Math.max(scale, 1);
  return Array.from({ length: size }, (_, i) => {
    const centre = from + (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(length, Math.trunc(centre + reach + 0.5));
    return { start, weights: fixedPoint(triangle(centre, reach, start, end)) };
  });
}

/** Return the heights of a triangle of width 2 · `reach` around `centre`, at the middles of pixels `start` to `end`. */
function triangle(centre, reach, start, end) {
  const height = (pixel) => Math.max(0, 1 - Math.abs((pixel - centre + 0.5) * (1 / reach)));
  return Array.from({ length: end - start }, (_, i) => height(start + i));
}

/** Return weights scaled to a sum of one, in fixed point. */
function fixedPoint(weights) {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return Int32Array.from(weights, (weight) => Math.floor(0.5 + (weight / sum) * 2 ** PRECISION_BITS));
}

/** Make one line: read at `from` in steps of `step`, write at `to` in steps of `stride`, all in bytes. */
function convolve(source, from, step, lineKernels, target, to, stride) {
  for (let i = 0; i < lineKernels.length; i++) {
    const { start, weights } = lineKernels[i];
    for (let channel = 0; channel < CHANNELS; channel++) {
      target[to + i * stride + channel] = weighted(source, from + start * step + channel, step, weights);
    }
  }
}

function weighted(source, from, step, weights) {
  let sum = HALF; // so that the shift rounds
  for (let i = 0, at = from; i < weights.length; i++, at += step) sum += source[at] * weights[i];
  return sum >> PRECISION_BITS;
}
