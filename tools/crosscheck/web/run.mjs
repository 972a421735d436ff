// Run a model in onnxruntime-web (WebAssembly, in Node) and count the logits that differ from golden ones.
//
//   node run.mjs RAW_DIR MODEL.onnx [--batch N] [--threads N] [--limit N]
//
// RAW_DIR is what `golden.py --raw` writes: golden.json, inputs.bin, logits.bin (little-endian). Prints one line of
// JSON; exit status 0 if no bit differs, 1 if one does, 2 on wrong use.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import * as ort from "onnxruntime-web";

const TYPES = { float32: Float32Array, uint8: Uint8Array };

/** The file's bytes as an array of the named type. */
async function readArray(file, dtype) {
  const bytes = await readFile(file);
  return new TYPES[dtype](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Number of float32 values whose bits differ: 0 and -0 differ, equal NaNs do not. */
function countDiffering(got, golden) {
  const a = new Uint32Array(got.buffer, got.byteOffset, got.length);
  const b = new Uint32Array(golden.buffer, golden.byteOffset, golden.length);
  return a.reduce((count, bits, i) => count + (bits === b[i] ? 0 : 1), 0);
}

/** Index of the largest value of each row; the first of equals. */
function argmaxRows(values, columns) {
  return Array.from({ length: values.length / columns }, (_, row) => {
    const logits = values.subarray(row * columns, (row + 1) * columns);
    return logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0);
  });
}

/** Logits of the first `images` inputs, in batches. */
async function run(session, inputs, spec, images, batch) {
  const size = spec.shape.slice(1).reduce((product, dimension) => product * dimension, 1);
  const parts = [];
  for (let first = 0; first < images; first += batch) {
    const count = Math.min(batch, images - first);
    const data = inputs.slice(first * size, (first + count) * size);
    const tensor = new ort.Tensor(spec.dtype, data, [count, ...spec.shape.slice(1)]);
    const { logits } = await session.run({ [spec.name]: tensor }, ["logits"]);
    parts.push(logits.data);
  }
  return Float32Array.from(parts.flatMap((part) => Array.from(part)));
}

async function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      batch: { type: "string", default: "1" },
      threads: { type: "string", default: "1" },
      limit: { type: "string" },
    },
  });
  if (positionals.length !== 2) {
    console.error("usage: node run.mjs RAW_DIR MODEL.onnx [--batch N] [--threads N] [--limit N]");
    return 2;
  }
  const [folder, model] = positionals;
  const golden = JSON.parse(await readFile(path.join(folder, "golden.json"), "utf8"));
  const inputs = await readArray(path.join(folder, "inputs.bin"), golden.input.dtype);
  const allLogits = await readArray(path.join(folder, "logits.bin"), "float32");
  const [total, classes] = golden.logits.shape;
  const images = Math.min(total, Number(values.limit ?? total));
  const logits = allLogits.slice(0, images * classes);

  ort.env.wasm.numThreads = Number(values.threads);
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const got = await run(session, inputs, golden.input, images, Number(values.batch));
  const differing = got.length === logits.length ? countDiffering(got, logits) : logits.length;
  const top1 = argmaxRows(logits, classes);
  const result = {
    model: path.basename(model),
    runtime: "onnxruntime-web wasm",
    onnxruntime: ort.env.versions.web,
    node: process.version,
    threads: Number(values.threads),
    batch: Number(values.batch),
    values: logits.length,
    differing,
    same_top1: argmaxRows(got, classes).filter((index, i) => index === top1[i]).length,
    images,
  };
  console.log(JSON.stringify(result));
  return differing === 0 ? 0 : 1;
}

process.exitCode = await main();
