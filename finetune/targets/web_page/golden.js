/**
 * Golden pairs: test pictures in the model file, with the answers that the trained network gave at export.
 *
 * Two rules decide, the same as in `finetune_export.golden`: preprocessed pixels have to be equal (JPEG is excused, its
 * standard lets decoders round differently), and no probability may differ by more than the arithmetic allows.
 */

import { decode } from "./decoding.js";
import { toPixels } from "./preprocessing.js";
import { sha256 } from "./sha256.js";

const MAX_DIFFERENCE = { fp32: 1e-3, fp16: 0.05, int8: 0.1 };
const JPEG_START = "/9"; // in base64

/**
 * Ask `network` for every golden answer; return notes on JPEG decoding.
 *
 * @param {{name: string, file: string, pixels_sha256: string, probabilities: number[]}[]} pairs `file` is base64
 * @param {object} contract
 * @param {(pixels: Uint8ClampedArray) => Promise<Float32Array>} network
 * @throws {Error} if an answer or its pixels are not those at export
 */
export async function checkGolden(pairs, contract, network) {
  if (pairs.length === 0) throw new Error("no golden pairs; export the model again");
  const notes = [];
  for (const pair of pairs) {
    const bytes = Uint8Array.from(atob(pair.file), (character) => character.charCodeAt(0));
    const pixels = toPixels(await decode(new Blob([bytes])), contract.preprocessing);
    notes.push(...(await comparePixels(pair, pixels)));
    compareAnswer(pair, await network(pixels), MAX_DIFFERENCE[contract.precision]);
  }
  return notes;
}

async function comparePixels(pair, pixels) {
  if ((await sha256(pixels)) === pair.pixels_sha256) return [];
  if (pair.file.startsWith(JPEG_START)) return [`${pair.name}: this browser decodes JPEG to slightly other pixels`];
  throw new Error(`golden picture ${pair.name}: its pixels differ from those at export; use another browser`);
}

function compareAnswer(pair, answer, allowed) {
  const difference = Math.max(...pair.probabilities.map((expected, i) => Math.abs(answer[i] - expected)));
  if (answer.length === pair.probabilities.length && difference <= allowed) return; // so that NaN is refused
  throw new Error(
    `golden picture ${pair.name}: a probability differs by ${difference.toPrecision(2)} from the one at export, ` +
      `${allowed} is allowed; get the model file again, or use another browser`,
  );
}
