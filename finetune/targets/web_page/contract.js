/**
 * What a model file says about itself: its contract and its golden pairs, from the file's own metadata.
 *
 * The file is read, and not a copy beside it, so that the page can never be deployed with another model's labels. Both
 * texts end with their own sha256, and the contract holds the sha256 of everything in the file but the metadata.
 */

import { sha256 } from "./sha256.js";
import { fields } from "./wire.js";

const CONTRACT_KEY = "finetune.contract";
const GOLDEN_KEY = "finetune.golden";
const SCHEMA = 1;
const GRAPH = 7;
const METADATA = 14; // both in ModelProto
const KEY = 1;
const VALUE = 2; // both in StringStringEntryProto
const SEAL_LENGTH = ', "sha256": ""}'.length + 64;
const DEFAULT_THRESHOLD = 0.5; // of several labels

/**
 * Return `{contract, pairs}` of a model file.
 *
 * @param {Uint8Array} data the whole file
 * @throws {Error} if it is not a model that finetune exported, or was changed after that
 */
export async function readContract(data) {
  const { metadata, graph } = split(data);
  const contract = await unsealed(metadata, CONTRACT_KEY);
  if (contract.schema !== SCHEMA) {
    throw new Error(`${CONTRACT_KEY}: this page reads schema ${SCHEMA}, not ${contract.schema}; export it again`);
  }
  if ((await sha256(graph)) !== contract.graph_sha256) {
    throw new Error("the graph is not the one that was exported (its sha256 differs); get the model file again");
  }
  return { contract, pairs: (await unsealed(metadata, GOLDEN_KEY)).pairs };
}

/** Return the name of the graph's output that holds the answers. */
export function outputOf({ task }) {
  return task === "regression" ? "values" : "probabilities";
}

/** Return the probability that a label has to reach, as `Contract.threshold_of` does. */
export function thresholdOf({ task, thresholds }, label) {
  return thresholds[label] ?? (task === "multi-label" ? DEFAULT_THRESHOLD : 0);
}

/** Return what a difference of two answers is measured in, for each label, as `Contract.units` does. */
export function unitsOf({ labels, scaling }) {
  return scaling?.scale ?? labels.map(() => 1);
}

/** Return a file's metadata as a map, and the bytes of everything else. */
function split(data) {
  const metadata = new Map();
  const rest = [];
  for (const field of fields(data)) {
    if (field.number === METADATA) metadata.set(...entry(field.value));
    else rest.push(field);
  }
  if (!rest.some((field) => field.number === GRAPH)) throw new Error("not an ONNX file; get the model file again");
  return { metadata, graph: joined(rest.map((field) => field.raw)) };
}

function entry(message) {
  const texts = { [KEY]: "", [VALUE]: "" };
  for (const field of fields(message)) texts[field.number] = new TextDecoder().decode(field.value);
  return [texts[KEY], texts[VALUE]];
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Return the JSON under a key; its last member is the sha256 of the text without that member. */
async function unsealed(metadata, key) {
  const text = metadata.get(key);
  if (text === undefined) throw new Error(`metadata key '${key}' is missing; only models of finetune's run here`);
  const body = `${text.slice(0, -SEAL_LENGTH)}}`;
  const seal = `, "sha256": "${await sha256(new TextEncoder().encode(body))}"}`;
  if (!text.endsWith(seal)) throw new Error(`${key}: changed after it was written; get the model file again`);
  return JSON.parse(body);
}
