// Takes a picture in any way a browser offers, sends it to this service, and shows what comes back.
// Texts from outside (labels, messages, file names) are only ever set as text, never as markup.

const element = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat(undefined, { style: "percent", minimumFractionDigits: 1 });
const number = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 6 }); // float32 holds seven
const MAX_PREVIEW_PX = 960;

let token = ""; // in memory only, on purpose
let picture = null; // the last one, to be sent again to another model or with a token
let underWay = new AbortController();
let listed = null; // the promise that the models are known: before that, there is nobody to ask

// ── the service ───────────────────────────────────────────────────────────────────────────────────

class Refusal extends Error {}

function url(path) {
  return new URL(path, document.baseURI);
}

function predictPath() {
  const { options, value } = element("models");
  return options.length > 1 ? `models/${encodeURIComponent(value)}/predict` : "predict";
}

async function ask(path, options = {}) {
  const headers = { "Content-Type": "application/octet-stream" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(url(path), { ...options, headers });
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) askForToken();
  if (!answer.ok) throw new Refusal(body.error ?? `The service answered with status ${answer.status}.`);
  return body;
}

async function listModels() {
  const { models } = await ask("v2/models");
  element("models").replaceChildren(...models.map((name) => new Option(name)));
  element("model").hidden = false;
  element("models").hidden = models.length < 2;
  element("only").textContent = models.length < 2 ? models[0] : "";
  showUrl();
}

async function predict(file) {
  underWay.abort();
  const mine = (underWay = new AbortController());
  picture = file;
  say("status", `Asking about ${file.name} …`);
  preview(file, mine.signal);
  try {
    checkSize(file);
    await listed;
    const started = performance.now();
    const answer = await ask(predictPath(), { method: "POST", body: file, signal: mine.signal });
    show(answer, performance.now() - started);
  } catch (error) {
    if (!mine.signal.aborted) complain(error, file.name);
  }
}

function checkSize(file) {
  const most = Number(element("drop").dataset.maxBytes);
  const mb = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  if (file.size > most) throw new Refusal(`${mb(file.size)}; at most ${mb(most)} are allowed`);
}

// ── what is shown ─────────────────────────────────────────────────────────────────────────────────

function reveal(id) {
  for (const each of ["status", "error", "result"]) element(each).hidden = each !== id;
  element("outcome").hidden = !id;
}

function say(id, text) {
  element(id).textContent = text;
  reveal(id);
}

function complain(error, subject) {
  const lost = "no answer; the service has stopped, or the file cannot be read";
  say("error", `${subject}: ${error instanceof Refusal ? error.message : lost}`);
}

function show(answer, elapsed_ms) {
  const [prediction] = answer.predictions;
  const [inside, altogether] = [answer.seconds * 1000, elapsed_ms].map((ms) => `${Math.round(ms)} ms`);
  if (prediction.values) showValues(prediction);
  else if (prediction.labels) showLabels(prediction);
  else showLabel(prediction);
  element("facts").textContent = `${inside} in the service, ${altogether} in all\n${answer.model}, version ${answer.version}`;
  reveal("result");
}

// One label is right.
function showLabel({ label, probability, abstains, top }) {
  headline(label, percent.format(probability));
  element("abstains").hidden = !abstains;
  element("classes").replaceChildren(...top.map((share) => bar(share)));
}

// Each label may be right: those that reach their thresholds are marked, and shown even where top has fewer.
function showLabels({ labels, top }) {
  const given = labels.map(({ label }) => label);
  headline(given.join(", ") || "None of the labels", "");
  element("abstains").hidden = true;
  const others = top.filter(({ label }) => !given.includes(label));
  element("classes").replaceChildren(...labels.map((share) => bar(share, "given")), ...others.map((share) => bar(share)));
}

function showValues({ values }) {
  const named = Object.entries(values);
  headline(named.length === 1 ? named[0][0] : `${named.length} values`, named.length === 1 ? number.format(named[0][1]) : "");
  element("abstains").hidden = true;
  element("classes").replaceChildren(...named.map(([name, value]) => row(name, number.format(value))));
}

function headline(text, detail) {
  element("label").textContent = text;
  element("probability").textContent = detail;
}

function bar({ label, probability }, mark = "") {
  const made = row(label, percent.format(probability));
  const track = made.appendChild(document.createElement("span"));
  const filled = track.appendChild(document.createElement("span"));
  made.className = mark;
  track.className = "track";
  filled.className = "bar";
  filled.style.width = `${100 * probability}%`;
  return made;
}

function row(label, text) {
  const made = document.createElement("li");
  const [name, share] = ["bdi", "span"].map((tag) => made.appendChild(document.createElement(tag)));
  name.textContent = label;
  share.className = "share";
  share.textContent = text;
  return made;
}

async function preview(file, signal) {
  const canvas = element("preview");
  canvas.hidden = true;
  canvas.setAttribute("aria-label", file.name);
  const bitmap = await createImageBitmap(file).catch(() => null); // the service says what is wrong with it
  if (!bitmap || signal.aborted) return;
  const scale = Math.min(1, MAX_PREVIEW_PX / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, bitmap.width * scale);
  canvas.height = Math.max(1, bitmap.height * scale);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  canvas.hidden = false;
}

function showUrl() {
  for (const each of document.querySelectorAll(".url")) each.textContent = url(predictPath());
}

// ── a token ───────────────────────────────────────────────────────────────────────────────────────

function askForToken() {
  element("access").hidden = false;
  element("token").focus();
  for (const each of document.querySelectorAll(".with-token")) each.hidden = false;
}

element("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = element("token").value.trim();
  element("token").value = "";
  element("access").hidden = true;
  start();
  if (picture) predict(picture);
});

// ── ways in ───────────────────────────────────────────────────────────────────────────────────────

function take(files) {
  if (files.length > 1) complain(new Refusal("one picture at a time, please"), `${files.length} files`);
  else if (files.length) predict(files[0]);
}

for (const id of ["file", "camera"]) {
  element(id).addEventListener("change", ({ target }) => {
    take([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  });
}

document.addEventListener("paste", (event) => take([...event.clipboardData.files]));

// Anywhere on the page: a picture dropped beside the field would otherwise replace the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) element("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  take([...event.dataTransfer.files]);
});

element("models").addEventListener("change", () => {
  showUrl();
  if (picture) predict(picture);
});

element("copy").addEventListener("click", async () => {
  const language = document.querySelector("[name=language]:checked").value;
  const code = document.querySelector(`[data-language=${language}]`);
  const copied = await navigator.clipboard?.writeText(code.innerText).then(() => true, () => false);
  if (!copied) getSelection().selectAllChildren(code); // browsers copy by script from https and localhost only
  element("copy").textContent = copied ? "Copied" : "Selected";
});

function start() {
  reveal(null);
  listed = listModels();
  listed.catch((error) => complain(error, "The models"));
}

function waitForToken() {
  listed = Promise.reject(new Refusal("waiting for the token"));
  listed.catch(() => {}); // told when a picture is given
  askForToken();
}

element("photograph").hidden = navigator.maxTouchPoints === 0;
showUrl();
if (element("access").dataset.needed) waitForToken();
else start();
