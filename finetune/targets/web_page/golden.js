/**
 * Golden pairs: test pictures in the model file, with the answers that the trained network gave at export.
 *
 * Two rules decide, the same as in `finetune_export.golden`: preprocessed pixels have to be equal (JPEG is excused, its
 * standard lets decoders round differently), and no answer may differ by more than the arithmetic allows; that of a
 * value is measured in units of its scale, without what float32 cannot express.
 */

import { unitsOf } from "./contract.js";
import { decode } from "./decoding.js";
import { toPixels } from "./preprocessing.js";
import { sha256 } from "./sha256.js";

const MAX_DIFFERENCE = { fp32: 1e-3, fp16: 0.05, int8: 0.1 };
const EXCUSED_STEPS = 2; // of float32, by which two values may lie apart before their difference counts
const SIGNIFICAND_BITS = 23; // of float32
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
  const difference = Math.max(...differences(answers, pair.answers, contract));
  if (answers.length === pair.answers.length && difference <= allowed) return; // so that NaN is refused
  const [what, unit] = contract.task === "regression" ? ["a value", " of its scale"] : ["a probability", ""];
  throw new Error(
    `golden picture ${pair.name}: ${what} differs by ${difference.toPrecision(2)}${unit} from the one at export, ` +
      `${allowed} is allowed; get the model file again, or use another browser`,
  );
}

/** Return by how much answers differ, as `finetune_export.verify.differences` does; it says what is excused, and why. */
function differences(answers, others, contract) {
  const units = unitsOf(contract);
  return others.map((expected, i) => {
    const apart = Math.abs(answers[i] - expected);
    if (contract.task !== "regression") return apart / units[i];
    const larger = Math.max(Math.abs(answers[i]), Math.abs(expected));
    return Math.max(apart - EXCUSED_STEPS * stepAt(larger), 0) / units[i];
  });
}

/** Return how far the float32 numbers around a number, at least 0, lie apart. */
function stepAt(number) {
  return 2 ** (Math.floor(Math.log2(number)) - SIGNIFICAND_BITS);
}
