/**
 * EXIF orientation: how a camera was held. Browsers disagree on where they honour it, so the page does it itself.
 */

const ORIENTATION_TAG = 0x0112;
const SHORT = 3;
const ENTRY_BYTES = 12;
const UPRIGHT = 1;

/**
 * Where in a stored picture, `w` × `h`, the pixel comes from that is shown at column `x`, row `y` of the upright one.
 */
const SOURCES = {
  2: (x, y, w) => [w - 1 - x, y],
  3: (x, y, w, h) => [w - 1 - x, h - 1 - y],
  4: (x, y, w, h) => [x, h - 1 - y],
  5: (x, y) => [y, x],
  6: (x, y, w, h) => [y, h - 1 - x],
  7: (x, y, w, h) => [w - 1 - y, h - 1 - x],
  8: (x, y, w) => [w - 1 - y, x],
};

/**
 * Return the orientation (1 to 8) in the EXIF block at `exif`; whatever is unreadable counts as upright.
 */
export function orientationOf(bytes, exif) {
  const entry = exif === null ? null : findEntry(bytes.subarray(exif));
  const value = entry?.value ?? UPRIGHT;
  return value in SOURCES ? value : UPRIGHT;
}

/**
 * Return a copy of a file whose EXIF block says "upright", so that no decoder turns the picture.
 */
export function withoutOrientation(bytes, exif) {
  const copy = bytes.slice();
  const entry = exif === null ? null : findEntry(copy.subarray(exif));
  entry?.view.setUint16(entry.at, UPRIGHT, entry.little);
  return copy;
}

/**
 * Return an RGB picture, turned upright.
 *
 * @param {{width: number, height: number, data: Uint8ClampedArray}} picture as it is stored
 */
export function turned(picture, orientation) {
  const source = SOURCES[orientation];
  if (!source) return picture;
  const { width: w, height: h } = picture;
  const [width, height] = orientation >= 5 ? [h, w] : [w, h];
  const data = new Uint8ClampedArray(picture.data.length);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const [column, row] = source(x, y, w, h);
      const from = 3 * (row * w + column);
      data[to] = picture.data[from];
      data[to + 1] = picture.data[from + 1];
      data[to + 2] = picture.data[from + 2];
    }
  }
  return { width, height, data };
}

/** Return where the orientation stands in a TIFF structure, and its value; null if it is not there. */
function findEntry(tiff) {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  try {
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    for (let i = 0; i < view.getUint16(directory, little); i++) {
      const at = directory + 2 + i * ENTRY_BYTES;
      if (view.getUint16(at, little) !== ORIENTATION_TAG || view.getUint16(at + 2, little) !== SHORT) continue;
      return { view, little, at: at + 8, value: view.getUint16(at + 8, little) };
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a malformed block says nothing about the pixels
  }
  return null;
}
