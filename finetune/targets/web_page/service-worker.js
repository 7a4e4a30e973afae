/**
 * Keeps the whole page, its runtime and its model, so that it works without a network.
 *
 * Files are answered from the copy that was stored with this version, all of them or none. A new export has a new
 * version; it takes over when every tab with the old one is closed.
 */

const VERSION = "{{version}}"; // of the page and the model
const CACHE = `finetune ${registration.scope} ${VERSION}`;
const FILES = [
  "./",
  "camera.js",
  "contract.js",
  "decoding.js",
  "golden.js",
  "headers.js",
  "icon.svg",
  "index.html",
  "manifest.webmanifest",
  "model.js",
  "model.onnx",
  "orientation.js",
  "page.js",
  "png.js",
  "preprocessing.js",
  "results.js",
  "runtime/ort-wasm-simd-threaded.wasm",
  "runtime/ort.js",
  "sha256.js",
  "style.css",
  "wire.js",
];

addEventListener("install", (event) => event.waitUntil(store()));
addEventListener("activate", (event) => event.waitUntil(forgetOldVersions()));
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function store() {
  const cache = await caches.open(CACHE);
  await cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" }))); // asks whether it has changed
}

async function forgetOldVersions() {
  const ours = (await caches.keys()).filter((name) => name.startsWith(`finetune ${registration.scope} `));
  await Promise.all(ours.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
}

async function answer(request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
}
