/**
 * Answers and facts as elements of the page; whatever comes from the model is set as text, never as markup.
 */

import { thresholdOf } from "./contract.js";

const BEST = 5;
const DIGITS = 6; // of a value; float32 holds seven
const SHOW = { "single-label": showLabel, "multi-label": showLabels, regression: showValues };

/**
 * Show an answer in the way of the model's task, and what the network saw.
 *
 * @param {{contract: object}} model
 * @param {{pixels: Uint8ClampedArray, answers: Float32Array}} answer
 * @param {number} milliseconds from the file or frame to the answer
 */
export function showAnswer({ contract }, { pixels, answers }, milliseconds) {
  SHOW[contract.task](contract, contract.labels.map((label, i) => [label, answers[i]]));
  byId("time").textContent = `Answered in ${Math.round(milliseconds)} ms, on this device`;
  showPixels(pixels, contract.preprocessing.image_size_px);
}

/** Show what is worth knowing about a model, from its contract. */
export function showFacts({ task, labels, backbone, dataset, preprocessing, metrics, run_id }) {
  const measured = Object.entries(metrics).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`);
  const facts = {
    [task === "regression" ? "Values" : "Labels"]: labels.length,
    Network: `${backbone.name}, weights: ${backbone.weights} (${backbone.licence || "licence not stated"})`,
    "Trained on": `${dataset.name}, ${dataset.train_images} pictures (${dataset.licence || "licence not stated"})`,
    Measured: `${measured.join(", ")}, on ${dataset.valid_images} pictures it was not trained on`,
    Sees: `the centre square, ${preprocessing.image_size_px} × ${preprocessing.image_size_px} pixels`,
    Run: run_id,
  };
  const rows = Object.entries(facts).flatMap(([name, fact]) => [element("dt", name), element("dd", fact)]);
  byId("facts").replaceChildren(...rows);
  byId("about").hidden = false;
}

// ── in the way of each task ─────────────────────────────────────────────────────────────────────────

/** One label is right; below its own threshold it is not claimed. */
function showLabel(contract, shares) {
  const ranked = bestFirst(shares);
  const [label, probability] = ranked[0];
  const threshold = thresholdOf(contract, label);
  if (probability >= threshold) showHeadline(label, percent(probability));
  else {
    const needed = `${percent(probability)} is less than the ${percent(threshold)} it needs`;
    showHeadline("Not sure", `perhaps ${label}, but ${needed}`);
  }
  showBars(ranked, (_, place) => place === 0, BEST);
}

/** Each label may be right, whatever the others are: those are given, and come first, that reach their thresholds. */
function showLabels(contract, shares) {
  const reaches = ([label, probability]) => probability >= thresholdOf(contract, label);
  const given = bestFirst(shares.filter(reaches));
  const others = bestFirst(shares.filter((share) => !reaches(share)));
  const names = given.map(([label]) => label);
  showHeadline(names.join(", ") || "None of the labels", `${given.length} of ${shares.length} labels`);
  showBars([...given, ...others], reaches, Math.max(BEST, given.length));
}

/** Values have names and units of their own, and nothing that a bar could be a share of. */
function showValues(_, values) {
  const [[name, value]] = values;
  if (values.length === 1) showHeadline(number(value), name);
  else showHeadline(`${values.length} values`, "");
  byId("best").replaceChildren(...values.map(([name, value]) => row(name, number(value))));
  byId("others").hidden = true;
}

// ── parts ───────────────────────────────────────────────────────────────────────────────────────────

function bestFirst(shares) {
  return shares.toSorted((one, other) => other[1] - one[1]);
}

function showHeadline(text, detail) {
  byId("top").textContent = text;
  byId("certainty").textContent = detail;
}

/** Show the first bars, marked where they are given, and fold the others away. */
function showBars(ranked, isGiven, first) {
  const bars = ranked.map((share, place) => bar(share, isGiven(share, place)));
  byId("best").replaceChildren(...bars.slice(0, first));
  byId("rest").replaceChildren(...bars.slice(first));
  byId("others").hidden = bars.length <= first;
  byId("count").textContent = `All other labels (${bars.length - first})`;
}

function bar([label, probability], isGiven) {
  const made = row(label, percent(probability));
  made.className = isGiven ? "given" : "";
  const length = element("span");
  length.className = "bar";
  length.style.setProperty("--share", probability);
  made.append(length);
  return made;
}

function row(label, text) {
  const made = element("li");
  const name = element("span", label);
  name.dir = "auto";
  made.append(name, element("span", text));
  return made;
}

function showPixels(pixels, size) {
  const image = new ImageData(size, size);
  image.data.fill(255);
  for (let i = 0; i < size * size; i++) image.data.set(pixels.subarray(3 * i, 3 * i + 3), 4 * i);
  const canvas = byId("seen");
  Object.assign(canvas, { width: size, height: size });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function number(value) {
  return String(Number(value.toPrecision(DIGITS)));
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function byId(id) {
  return document.getElementById(id);
}
