"""Run files in OpenCV's dnn module, and compare with onnxruntime: does it load one, and is it right?

    opencv_dnn.py MODEL.onnx ... [--inputs INPUTS.npy]    (pip install opencv-python-headless onnxruntime numpy)

One input at a time, in a process of its own for each file: some files kill OpenCV. onnxruntime computes the file as it
is written, without optimizations. Without --inputs four are random. Prints one line of JSON a file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort


def run_here(model: Path, inputs: Path, out: Path) -> None:
    """Results of OpenCV to `out`; prints how many layers of each kind compute in integers."""
    import cv2

    network = cv2.dnn.readNetFromONNX(str(model))
    results = []
    for x in np.load(inputs):
        network.setInput(x[None])
        results.append(network.forward().copy())
    np.save(out, np.stack(results))
    kinds = Counter(line.split()[0] for line in network.dump().splitlines() if line.strip().endswith("Int8 {"))
    print(json.dumps({"opencv": cv2.__version__, "integer_layers": dict(kinds)}))


def compared(model: Path, inputs: Path | None) -> dict[str, object]:
    """What OpenCV makes of one file."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "inputs.npy"), Path(folder, "out.npy")
        shape = [size if isinstance(size, int) else 1 for size in entry.shape[1:]]
        drawn = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
        np.save(given, drawn if inputs is None else np.load(inputs))
        command = [sys.executable, "-m", "tools.crosscheck.opencv_dnn", "--here", str(given), str(out), str(model)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            told = [line for line in done.stderr.splitlines() if "error" in line]
            return {"model": model.name, "refused": told[-1] if told else f"exit status {done.returncode}"}
        x, got = np.load(given), np.load(out)
    want = np.stack([session.run(None, {entry.name: one[None]})[0] for one in x])
    got = got.reshape(want.shape)
    return {
        "model": model.name,
        **json.loads(done.stdout.splitlines()[-1]),
        "images": len(x),
        "same_top1": int((got.argmax(-1) == want.argmax(-1)).sum()),
        "largest_difference": float(np.abs(got - want).max()),
        "largest_result": float(np.abs(want).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--inputs", type=Path, help="float32 [N, ...], one input a row")
    parser.add_argument("--here", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        run_here(args.models[0], *args.here)
        return
    for model in args.models:
        print(json.dumps(compared(model, args.inputs)), flush=True)


if __name__ == "__main__":
    main()
