/**
 * The model: a file and onnxruntime's WebAssembly build, from pictures to answers.
 */

import { outputOf, readContract } from "./contract.js";
import { checkGolden } from "./golden.js";
import { toPixels } from "./preprocessing.js";

const RUNTIME = "./runtime/ort.js";

/** A model that has passed its checks. */
export class Model {
  #runtime;
  #session;

  /** Use `openModel` instead, which checks what it opens. */
  constructor(runtime, session, contract) {
    this.#runtime = runtime;
    this.#session = session;
    this.contract = contract;
    this.notes = [];
  }

  /**
   * Return `{pixels, answers}` for an upright RGB picture: what the network sees, and what it says.
   *
   * @param {{width: number, height: number, data: Uint8ClampedArray}} picture
   * @returns {Promise<{pixels: Uint8ClampedArray, answers: Float32Array}>} in the order of the labels
   */
  async ask(picture) {
    const pixels = toPixels(picture, this.contract.preprocessing);
    return { pixels, answers: await this.answersTo(pixels) };
  }

  /** Return the probabilities, or for regression the values, for pixels as the network sees them: size · size · 3 bytes. */
  async answersTo(pixels) {
    const size = this.contract.preprocessing.image_size_px;
    const image = new this.#runtime.Tensor("uint8", new Uint8Array(pixels.buffer), [1, size, size, 3]);
    const name = outputOf(this.contract);
    const { [name]: answers } = await this.#session.run({ image }, [name]);
    if (!answers.data.every(Number.isFinite)) throw new Error("the network's answer is not finite");
    return answers.data;
  }
}

/**
 * Return the model at `url`, or throw an `Error` that says why it is refused.
 *
 * A file that was changed after its export, or that answers its golden pairs differently here, never becomes a model.
 */
export async function openModel(url) {
  if (!isSecureContext) throw new Error("browsers allow this page from https or localhost only; serve it from there");
  const data = await download(url);
  const { contract, pairs } = await readContract(data);
  const runtime = await loadRuntime();
  const model = new Model(runtime, await runtime.InferenceSession.create(data), contract);
  model.notes = await checkGolden(pairs, contract, (pixels) => model.answersTo(pixels));
  return model;
}

async function download(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be loaded (${response.status}); copy it next to this page`);
  return new Uint8Array(await response.arrayBuffer());
}

async function loadRuntime() {
  const runtime = await import(RUNTIME).catch((error) => {
    throw new Error(`onnxruntime-web is not here (${error.message}); run 'npm install' in this page's folder`);
  });
  runtime.env.wasm.numThreads = 1; // more would need special headers from the server
  runtime.env.logLevel = "error";
  return runtime;
}
