/**
 * Golden pairs: test pictures in the model file, with the answers that the trained network gave at export.
 *
 * Two rules decide, the same as in `finetune_export.golden`: preprocessed pixels have to be equal (JPEG is excused, its
 * standard lets decoders round differently), and no answer may differ by more than the arithmetic allows; that of a
 * value is measured in units of its scale.
 */

import { unitsOf } from "./contract.js";
import { decode } from "./decoding.js";
import { toPixels } from "./preprocessing.js";
import { sha256 } from "./sha256.js";

const MAX_DIFFERENCE = { fp32: 1e-3, fp16: 0.05, int8: 0.1 };
const JPEG_START = "/9"; // in base64

/**
 * Ask `network` for every golden answer; return notes on JPEG decoding.
 *
 * @param {{name: string, file: string, pixels_sha256: string, answers: number[]}[]} pairs `file` is base64
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
    compareAnswers(pair, await network(pixels), contract);
  }
  return notes;
}

async function comparePixels(pair, pixels) {
  if ((await sha256(pixels)) === pair.pixels_sha256) return [];
  if (pair.file.startsWith(JPEG_START)) return [`${pair.name}: this browser decodes JPEG to slightly other pixels`];
  throw new Error(`golden picture ${pair.name}: its pixels differ from those at export; use another browser`);
}

function compareAnswers(pair, answers, contract) {
  const allowed = MAX_DIFFERENCE[contract.precision];
  const units = unitsOf(contract);
  const difference = Math.max(...pair.answers.map((expected, i) => Math.abs(answers[i] - expected) / units[i]));
  if (answers.length === pair.answers.length && difference <= allowed) return; // so that NaN is refused
  const [what, unit] = contract.task === "regression" ? ["a value", " of its scale"] : ["a probability", ""];
  throw new Error(
    `golden picture ${pair.name}: ${what} differs by ${difference.toPrecision(2)}${unit} from the one at export, ` +
      `${allowed} is allowed; get the model file again, or use another browser`,
  );
}
