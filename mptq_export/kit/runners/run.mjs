// Does the model give the kit's golden values in onnxruntime-web (WebAssembly) or onnxruntime-node, bit by bit?
//
//   npm install onnxruntime-web && node run.mjs [--threads N] [--runs N] [--outputs-only]
//   npm install onnxruntime-node && node run.mjs --runtime onnxruntime-node
//
// Exit status: 0 every value is equal; 1 something differs (the first differing tensor is named); 2 it cannot be run.

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { checkKit } from "./check.mjs";

const RUNTIMES = { "onnxruntime-web": "wasm", "onnxruntime-node": "cpu" };

function options() {
  const { values } = parseArgs({
    options: {
      runtime: { type: "string", default: "onnxruntime-web" },
      threads: { type: "string", default: "1" },
      runs: { type: "string", default: "20" },
      "outputs-only": { type: "boolean", default: false },
    },
  });
  const [threads, runs] = [Number(values.threads), Number(values.runs)];
  if (!(values.runtime in RUNTIMES)) throw new Error(`--runtime is one of ${Object.keys(RUNTIMES).join(", ")}`);
  if (!(threads >= 1 && runs >= 1)) throw new Error("--threads and --runs take a number from 1");
  return { runtime: values.runtime, threads, runs, outputsOnly: values["outputs-only"] };
}

async function main() {
  const { runtime, threads, runs, outputsOnly } = options();
  const module = await import(runtime);
  const ort = module.InferenceSession ? module : module.default;
  if (runtime === "onnxruntime-web") ort.env.wasm.numThreads = threads;
  const versions = Object.entries(ort.env.versions).map(([name, version]) => `${name} ${version}`);
  console.log(`${runtime} (${versions.join(", ")}), ${process.platform} ${process.arch}, Node ${process.versions.node}`);
  const load = async (name) => new Uint8Array(await readFile(new URL(name, import.meta.url)));
  const result = await checkKit(ort, load, console.log, { providers: [RUNTIMES[runtime]], runs, outputsOnly });
  console.log(result.passed ? "PASS" : "FAIL");
  return result.passed ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 2;
}
