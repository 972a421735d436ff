"""Latency of one file beside its float companion and in the reference, interleaved in one run.

    python tools/bench/latency.py FLOAT.onnx MODEL.onnx [--threads 1] [--rounds 15] [--json FILE]

Each round runs onnxruntime on FLOAT, onnxruntime on MODEL and kernels_ref on MODEL (no trace), one image each; medians
and quartiles of the ratio to FLOAT of the same round are printed.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from kernels_ref import Interpreter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("float_model", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    feeds = {"input": _input(args.model)}
    reference = Interpreter(args.model)
    runners: dict[str, Callable[[], object]] = {
        "onnxruntime, float32": _session(args.float_model, args.threads),
        "onnxruntime, exported": _session(args.model, args.threads),
        "kernels_ref, exported": lambda: reference.run(feeds),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for round_number in range(args.rounds + 2):
        for name, run in runners.items():
            start = time.perf_counter()
            run()
            if round_number >= 2:  # the first two rounds warm caches up
                seconds[name].append(time.perf_counter() - start)
    report = _report(seconds)
    table = Table("what", "median ms", "median of the ratio to float32", "quartiles")
    for name, row in report.items():
        low, middle, high = row["ratio_quartiles"]
        table.add_row(name, f"{row['median_ms']:.1f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"threads": args.threads, "rows": report}, indent=1) + "\n")


def _session(path: Path, threads: int) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {"input": _input(path)}
    return lambda: session.run(None, feeds)


def _input(path: Path) -> np.ndarray:
    """One random image of the file's own input type."""
    spec = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()[0]
    shape = [1, *spec.shape[1:]]
    generator = np.random.default_rng(0)
    if spec.type == "tensor(uint8)":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return generator.standard_normal(shape, dtype=np.float32)


def _report(seconds: dict[str, list[float]]) -> dict[str, dict[str, object]]:
    base = np.array(next(iter(seconds.values())))
    return {
        name: {
            "median_ms": float(np.median(times) * 1e3),
            "ratio_quartiles": [float(q) for q in np.percentile(np.array(times) / base, [25, 50, 75])],
        }
        for name, times in seconds.items()
    }


if __name__ == "__main__":
    main()
