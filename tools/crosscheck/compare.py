"""Run a model on this machine and count the outputs that differ from golden ones.

    compare.py golden.npz MODEL.onnx [--threads 1 2] [--batch 1 3 8]

Prints one line of JSON a setting and exits with status 1 if any bit differs. Copy this file and `cpu.py` to another
machine: they need NumPy and onnxruntime only. `golden.py` makes the golden file.
"""

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tools.crosscheck.cpu import cpu_features


def differing(got: np.ndarray, golden: np.ndarray) -> int:
    """Number of float32 values whose bits differ, so that 0.0 and -0.0 differ and equal NaNs do not."""
    return int(np.count_nonzero(got.view(np.uint32) != golden.view(np.uint32)))


def run(model: Path, inputs: np.ndarray, threads: int, batch: int) -> np.ndarray:
    """Logits of all inputs, (n, classes) float32, with onnxruntime's default options."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(["logits"], {name: inputs[i : i + batch]})[0] for i in range(0, len(inputs), batch)]
    return np.concatenate(parts)


def result(model: Path, inputs: np.ndarray, logits: np.ndarray, threads: int, batch: int) -> dict[str, Any]:
    """One setting's result: where it ran, how many values were compared and how many differ."""
    got = run(model, inputs, threads, batch)
    return {
        "model": model.name,
        "machine": platform.machine(),
        "cpu": cpu_features(),
        "onnxruntime": ort.__version__,
        "threads": threads,
        "batch": batch,
        "values": int(logits.size),
        "differing": differing(got, logits),
        "same_top1": int((got.argmax(1) == logits.argmax(1)).sum()),
        "images": len(logits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[0], help="0 is onnxruntime's own choice")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--limit", type=int, help="only the first N inputs")
    args = parser.parse_args()
    with np.load(args.golden) as golden:
        inputs, logits = golden["inputs"][: args.limit], golden["logits"][: args.limit]
    wrong = 0
    for threads in args.threads:
        for batch in args.batch:
            line = result(args.model, inputs, logits, threads, batch)
            wrong += line["differing"]
            print(json.dumps(line), flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
