// The page: runs the check in onnxruntime-web's WebAssembly and shows what it finds.
//
// index.html?ort=PATH    where onnxruntime-web lies, relative to the page (default: what `npm install` made)
//           &runs=N      runs that are timed (20)
//           &threads=N   more than 1 needs a server that sends the cross-origin isolation headers

import { checkKit } from "./check.mjs";

const DEFAULT_ORT = "node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const query = new URLSearchParams(location.search);
const show = (id, text) => (document.getElementById(id).textContent = text);
const say = (line) => document.getElementById("log").append(`${line}\n`);

function verdict(passed, text) {
  const box = document.getElementById("verdict");
  box.className = passed ? "pass" : "fail";
  box.textContent = text;
}

async function load(name) {
  const response = await fetch(name, { cache: "no-store" });
  if (!response.ok) throw new Error(`${name}: HTTP status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

show("browser", navigator.userAgent);
try {
  const path = query.get("ort") ?? DEFAULT_ORT;
  const ort = await import(new URL(path, location.href)).catch((error) => {
    throw new Error(`onnxruntime-web is not at ${path} (${error.message}); run "npm install onnxruntime-web" here`);
  });
  const threads = Number(query.get("threads") ?? 1);
  ort.env.wasm.numThreads = threads;
  show("runtime", `onnxruntime-web ${ort.env.versions.web ?? ort.env.versions.common}, WebAssembly, ${threads} thread(s)`);
  const runs = Number(query.get("runs") ?? 20);
  const result = await checkKit(ort, load, say, { providers: ["wasm"], runs, outputsOnly: false });
  const { median, smallest } = result.latency;
  show("latency", `median ${median.toFixed(2)} ms, smallest ${smallest.toFixed(2)} ms of ${runs} runs`);
  show("first", result.first ?? "none");
  verdict(result.passed, result.passed ? "PASS: every value is equal" : "FAIL: values differ");
} catch (error) {
  say(error.message);
  verdict(false, "ERROR: the kit could not be run");
}
