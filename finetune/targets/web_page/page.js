/**
 * The page: opens the model, lets pictures in, and shows answers or what is wrong.
 */

import { Camera } from "./camera.js";
import { decode, PictureError } from "./decoding.js";
import { openModel } from "./model.js";
import { showAnswer, showFacts } from "./results.js";

const byId = (id) => document.getElementById(id);
const PASSED = "Self-check passed: test pictures are answered here as at export.";
const camera = new Camera(byId("video"));
let asked = null; // the file or camera that is to be answered; a late answer for another is dropped

openModel("model.onnx").then(begin, refuse);

// ── beginning ───────────────────────────────────────────────────────────────────────────────────────

function begin(model) {
  document.body.dataset.state = "ready";
  byId("status").textContent = [PASSED, ...model.notes].join(" ");
  byId("controls").disabled = false;
  showFacts(model.contract);
  listen(model);
  keepForOffline();
}

/** Say why there will be no answers; a stored copy that fails is forgotten, so that the next visit fetches it. */
async function refuse(error) {
  document.body.dataset.state = "refused";
  byId("status").textContent = `The model is refused: ${error.message}.`;
  if (navigator.onLine) await (await navigator.serviceWorker?.getRegistration())?.unregister();
}

async function keepForOffline() {
  try {
    const registration = await navigator.serviceWorker.register("service-worker.js");
    await navigator.serviceWorker.ready;
    byId("offline").textContent = registration.waiting
      ? "A newer version is here: close every tab with this page, then open it again."
      : "Works offline: everything is kept in this browser.";
  } catch (error) {
    byId("offline").textContent = `Needs a network: it cannot be kept in this browser (${error.message}).`;
  }
}

// ── letting pictures in ─────────────────────────────────────────────────────────────────────────────

function listen(model) {
  for (const input of [byId("choose"), byId("photograph")]) {
    input.addEventListener("change", () => {
      if (input.files.length > 0) answerFile(model, input.files[0]);
      input.value = ""; // so that the same picture can be chosen again
    });
  }
  document.addEventListener("paste", (event) => takeFirst(model, event.clipboardData));
  document.addEventListener("dragover", (event) => mark(event, true));
  document.addEventListener("dragleave", (event) => mark(event, false));
  document.addEventListener("drop", (event) => {
    mark(event, false);
    takeFirst(model, event.dataTransfer);
  });
  byId("live").addEventListener("click", () => (camera.isOn ? stopCamera() : watch(model)));
}

function mark(event, isOver) {
  event.preventDefault(); // or the browser would open what is dropped
  byId("stage").classList.toggle("over", isOver);
}

function takeFirst(model, transfer) {
  if (transfer.files.length > 0) answerFile(model, transfer.files[0]);
  else showMessage("There is no picture file in it; save the picture first, then choose the file.");
}

// ── answering ───────────────────────────────────────────────────────────────────────────────────────

async function answerFile(model, file) {
  stopCamera();
  asked = file;
  try {
    const began = performance.now();
    const picture = await decode(file);
    if (asked === file) showPreview(file);
    await answer(model, file, picture, began);
  } catch (error) {
    if (asked !== file) return;
    showMessage(error instanceof PictureError ? error.message : `The picture cannot be answered: ${error.message}.`);
  }
}

/** Answer the camera's frames, one after the other, until it is stopped or something else is asked. */
async function watch(model) {
  asked = camera;
  try {
    await startCamera();
    while (camera.isOn) {
      await answer(model, camera, camera.frame(), performance.now());
      await nextFrame();
    }
  } catch (error) {
    showMessage(`The camera cannot be used (${error.message}); allow it in the browser, or choose a picture.`);
  }
}

async function startCamera() {
  byId("live").disabled = true; // the browser may ask for leave meanwhile
  try {
    await camera.start();
  } finally {
    byId("live").disabled = false;
  }
  if (asked === camera) showCamera(true);
  else camera.stop();
}

function stopCamera() {
  camera.stop();
  showCamera(false);
}

/** Show the answer for a picture, unless something else was asked before it came. */
async function answer(model, source, picture, began) {
  const found = await model.ask(picture);
  if (asked !== source) return;
  showAnswer(model, found, performance.now() - began);
  byId("message").hidden = byId("nothing").hidden = true;
  byId("result").hidden = false;
}

function nextFrame() {
  return new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
}

// ── showing ─────────────────────────────────────────────────────────────────────────────────────────

/** Say what is wrong in place of an answer; no picture stays that it could be mistaken to be about. */
function showMessage(text) {
  asked = null;
  stopCamera();
  byId("message").textContent = text;
  byId("message").hidden = byId("hint").hidden = false;
  byId("result").hidden = byId("nothing").hidden = byId("preview").hidden = true;
}

function showPreview(file) {
  const preview = byId("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.hidden = false;
  byId("hint").hidden = true;
}

/** The live picture takes the place of the chosen one; a voice that reads every frame would never end. */
function showCamera(isOn) {
  byId("video").hidden = !isOn;
  byId("preview").hidden = true;
  byId("hint").hidden = isOn;
  byId("headline").ariaLive = isOn ? "off" : "polite";
  byId("live").textContent = isOn ? "Stop the camera" : "Live camera";
}
