// The check itself, for Node and for the page: runs the kit's model and compares every value bit by bit.

const WARM_UP = 2;
const ARRAYS = {
  bool: Uint8Array,
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
};

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32 of bytes, as zlib and zip files have it. */
export function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Golden values of one input: raw, little-endian, one input after the other. */
async function stored(load, entry, index) {
  const bytes = await load(entry.file);
  const array = new ARRAYS[entry.dtype](bytes.slice().buffer);
  const size = entry.shape.reduce((product, dimension) => product * dimension, 1);
  return array.slice(index * size, (index + 1) * size);
}

function sameForm(tensor, entry) {
  return tensor.type === entry.dtype && tensor.dims.join() === entry.shape.join();
}

/** Whether type, shape and every bit are those of the golden tensor, by its checksum. */
function isGolden(tensor, entry, index) {
  return sameForm(tensor, entry) && crc32(bytesOf(tensor.data)) === entry.crc32[index];
}

/** In words, how a tensor differs from its golden one; values can be counted only where they are stored. */
async function howFar(load, tensor, entry, index) {
  if (!sameForm(tensor, entry)) return `is ${tensor.type} [${tensor.dims}], not ${entry.dtype} [${entry.shape}]`;
  if (entry.file === null) return "differs";
  const golden = await stored(load, entry, index);
  const [a, b] = [bytesOf(tensor.data), bytesOf(golden)];
  const width = golden.BYTES_PER_ELEMENT;
  let wrong = 0;
  let largest = 0;
  for (let i = 0; i < golden.length; i++) {
    let differs = false;
    for (let k = i * width; k < (i + 1) * width; k++) differs ||= a[k] !== b[k];
    if (!differs) continue;
    wrong++;
    largest = Math.max(largest, Math.abs(Number(tensor.data[i]) - Number(golden[i])));
  }
  return `${wrong} of ${golden.length} values differ, the largest difference is ${Number(largest.toPrecision(6))}`;
}

/** Files whose bytes are not those that the kit was written with. */
async function damaged(load, manifest) {
  const names = [];
  for (const entry of manifest.files) if (crc32(await load(entry.file)) !== entry.crc32) names.push(entry.file);
  return names;
}

function joined(first, second) {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}

/**
 * Run the kit.
 *
 * `ort` is onnxruntime-web or onnxruntime-node; `load(path)` gives the bytes of a file of the kit; `say(line)` is called
 * with every finding; `options` holds `providers`, `runs` and `outputsOnly`. Resolves to `passed`, `first` (the first
 * diverging tensor, or null) and `latency` (milliseconds: `median`, `smallest`).
 */
export async function checkKit(ort, load, say, options) {
  const manifest = JSON.parse(new TextDecoder().decode(await load("manifest.json")));
  const altered = await damaged(load, manifest);
  for (const name of altered) say(`${name}: not the file that the kit was written with (its CRC-32 differs)`);
  let passed = altered.length === 0;
  let first = null;

  const create = (model) => ort.InferenceSession.create(model, { executionProviders: options.providers });
  const feed = async (index) => {
    const { name, dtype, shape } = manifest.input;
    return { [name]: new ort.Tensor(dtype, await stored(load, manifest.input, index), shape) };
  };
  const model = await load(manifest.model);
  const session = await create(model);
  const outputs = manifest.outputs.map((entry) => entry.name);
  let outputsAgree = true;
  for (let index = 0; index < manifest.inputs; index++) {
    const got = await session.run(await feed(index), outputs);
    for (const entry of manifest.outputs) {
      const same = isGolden(got[entry.name], entry, index);
      outputsAgree &&= same;
      const text = same ? "equal, bit by bit" : await howFar(load, got[entry.name], entry, index);
      say(`input ${index}: ${entry.name}: ${text}`);
    }
  }
  passed &&= outputsAgree;

  const feeds = await feed(0);
  const times = [];
  for (let run = 0; run < WARM_UP + options.runs; run++) {
    const start = performance.now();
    await session.run(feeds, outputs);
    if (run >= WARM_UP) times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const latency = { median: times[times.length >> 1], smallest: times[0] };

  if (!options.outputsOnly) {
    // Two messages of protobuf, one after the other, are one: the same model with its inner tensors as outputs.
    const probed = await create(joined(model, await load(manifest.probes)));
    const names = manifest.tensors.map((entry) => entry.name);
    for (let index = 0; index < manifest.inputs; index++) {
      const got = await probed.run(await feed(index), names);
      const wrong = manifest.tensors.filter((entry) => !isGolden(got[entry.name], entry, index));
      if (wrong.length === 0) {
        say(`input ${index}: ${names.length} inner tensors equal, bit by bit`);
        continue;
      }
      const { name, op, block } = wrong[0];
      first ??= name;
      passed = false;
      say(`input ${index}: first diverging tensor: ${name} (${op}, ${block ? `block ${block}` : "outside the blocks"})`);
      say(`input ${index}:   ${wrong.length} of ${names.length} inner tensors differ`);
      for (const entry of wrong.filter((entry) => entry.file !== null)) {
        say(`input ${index}:   ${entry.name}: ${await howFar(load, got[entry.name], entry, index)}`);
      }
    }
    if (first === null && !outputsAgree) {
      say("the inner tensors are equal: the runtime fuses the plain model in another way, see README.md");
    }
  }
  const [median, smallest] = [latency.median, latency.smallest].map((ms) => ms.toFixed(2));
  say(`latency: median ${median} ms, smallest ${smallest} ms (${options.runs} runs, batch 1)`);
  return { passed, first, latency };
}
