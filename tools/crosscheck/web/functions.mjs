// Run the models that `functions.py --write FOLDER` stored in onnxruntime-web (WebAssembly, in Node).
//
//   node functions.mjs FOLDER
//
// Stores every model's results beside it, for `functions.py --read FOLDER`.

import { readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import * as ort from "onnxruntime-web";

/** The results of one model for all runs, one after the other. */
async function results(folder, name) {
  const session = await ort.InferenceSession.create(path.join(folder, `${name}.onnx`), { executionProviders: ["wasm"] });
  const bytes = await readFile(path.join(folder, `${name}.x.bin`));
  const x = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const lengths = JSON.parse(await readFile(path.join(folder, `${name}.json`), "utf8"));
  const got = new Float32Array(x.length);
  let start = 0;
  for (const length of lengths) {
    const { y } = await session.run({ x: new ort.Tensor("float32", x.slice(start, start + length), [length]) });
    got.set(y.data, start);
    start += length;
  }
  return got;
}

const folder = process.argv[2];
if (!folder) {
  console.error("usage: node functions.mjs FOLDER");
  process.exit(2);
}
ort.env.wasm.numThreads = 1;
const models = (await readdir(folder)).filter((file) => file.endsWith(".onnx"));
for (const name of models.map((file) => path.basename(file, ".onnx"))) {
  await writeFile(path.join(folder, `${name}.y.bin`), await results(folder, name));
}
const about = { runtime: "onnxruntime-web wasm", onnxruntime: ort.env.versions.web, node: process.version };
await writeFile(path.join(folder, "runtime.json"), JSON.stringify(about));
