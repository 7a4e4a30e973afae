/**
 * Answers and facts as elements of the page; whatever comes from the model is set as text, never as markup.
 */

const BEST = 5;

/**
 * Show an answer: the top label, bars of the best labels, those of the others folded away, and what the network saw.
 *
 * @param {{contract: object}} model
 * @param {{pixels: Uint8ClampedArray, probabilities: Float32Array}} answer
 * @param {number} milliseconds from the file or frame to the answer
 */
export function showAnswer(model, { pixels, probabilities }, milliseconds) {
  const { labels, thresholds, preprocessing } = model.contract;
  const ranked = labels.map((label, i) => [label, probabilities[i]]).sort((one, other) => other[1] - one[1]);
  showHeadline(...ranked[0], thresholds);
  byId("best").replaceChildren(...ranked.slice(0, BEST).map(bar));
  byId("rest").replaceChildren(...ranked.slice(BEST).map(bar));
  byId("others").hidden = ranked.length <= BEST;
  byId("count").textContent = `All other labels (${ranked.length - BEST})`;
  byId("time").textContent = `Answered in ${Math.round(milliseconds)} ms, on this device`;
  showPixels(pixels, preprocessing.image_size_px);
}

/** Show what is worth knowing about a model, from its contract. */
export function showFacts({ labels, backbone, dataset, preprocessing, metrics, run_id }) {
  const measured = Object.entries(metrics).map(([name, value]) => `${name} ${Number(value.toFixed(4))}`);
  const facts = {
    Labels: labels.length,
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

/** Below its own threshold a label is not claimed. */
function showHeadline(label, probability, thresholds) {
  const isSure = probability >= (thresholds[label] ?? 0);
  byId("top").textContent = isSure ? label : "Not sure";
  byId("certainty").textContent = isSure
    ? percent(probability)
    : `perhaps ${label}, but ${percent(probability)} is less than the ${percent(thresholds[label])} it needs`;
}

function bar([label, probability]) {
  const row = element("li");
  const name = element("span", label);
  name.dir = "auto";
  const length = element("span");
  length.className = "bar";
  length.style.setProperty("--share", probability);
  row.append(name, element("span", percent(probability)), length);
  return row;
}

function showPixels(pixels, size) {
  const image = new ImageData(size, size);
  image.data.fill(255);
  for (let i = 0; i < size * size; i++) image.data.set(pixels.subarray(3 * i, 3 * i + 3), 4 * i);
  const canvas = byId("seen");
  Object.assign(canvas, { width: size, height: size });
  canvas.getContext("2d").putImageData(image, 0, 0);
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
