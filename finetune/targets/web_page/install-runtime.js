/** Copy what the page needs of onnxruntime-web into `runtime/`; `npm install` runs it. */

import { cpSync, mkdirSync } from "node:fs";

const FROM = "node_modules/onnxruntime-web/dist";

mkdirSync("runtime", { recursive: true });
// Named .js, for some servers do not know what .mjs is.
cpSync(`${FROM}/ort.wasm.bundle.min.mjs`, "runtime/ort.js");
cpSync(`${FROM}/ort-wasm-simd-threaded.wasm`, "runtime/ort-wasm-simd-threaded.wasm");
