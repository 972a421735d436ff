"""Run every matmul form on adversarial codes and compare onnxruntime with plain integer arithmetic.

Prints a table of form x output type: the kernel that ran, the values compared and how many differ. Exit status 1 if a
form that must be safe differs or did not run as one integer kernel. The control lines are not counted: they show
whether this CPU's kernels overflow at all. "order" is how many values another order of the scales would change: one
after the other instead of their product. "largest" is the largest error, as a share of the output's range. Needs NumPy,
onnx and onnxruntime.
"""

import argparse
import fnmatch
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tools.crosscheck.cpu import cpu_features
from tools.crosscheck.forms import FORMS, KERNELS, Case, Form, Size, make_case, outputs_of

_K = (1, 2, 3, 17, 64, 192, 197, 771, 3072)
_MN = ((1, 1), (1, 64), (1, 768), (3, 17), (17, 3), (17, 192), (8, 1000), (64, 197), (197, 64))
SIZES = [Size(m, k, n) for m, n in _MN for k in _K]
CONV_SIZES = [Size(m, k, n) for m in (1, 3, 17, 64) for k in (1, 3, 4, 9, 25, 49) for n in (1, 3, 16, 17, 32, 200)]
_ROLLS = 12
_ERRORS_ONLY = 3


def run(case: Case, threads: int, optimized: Path) -> tuple[np.ndarray, set[str]]:
    """The output of onnxruntime with its default options, and the op types that it ran."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    options.optimized_model_filepath = str(optimized)
    session = ort.InferenceSession(case.model, options, providers=["CPUExecutionProvider"])
    return session.run(None, case.feed)[0], {node.op_type for node in onnx.load(optimized).graph.node}


def cases(form: Form, output: str, sizes: list[Size], rng: np.random.Generator) -> Iterator[Case]:
    """The form at every size; few rows or columns are run again until all patterns had their turn."""
    for size in sizes:
        for roll in range(-(-_ROLLS // min(size.m, size.n, _ROLLS))):
            yield make_case(form, output, size, roll, rng)


def check(form: Form, output: str, sizes: list[Size], threads: int, rng: np.random.Generator) -> dict[str, Any]:
    """One line of the table: compare onnxruntime with the expected values in all of a form's cases."""
    values = differing = sensitive = 0
    largest = 0.0
    kernels: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(form, output, sizes, rng):
            got, ops = run(case, threads, Path(folder) / "optimized.onnx")
            kernels |= ops
            values += got.size
            differing += int((got != case.expected).sum())
            sensitive += int((case.otherwise != case.expected).sum())
            error = np.abs(got.astype(np.float64) - case.expected.astype(np.float64)).max()
            span = 255 if output == "uint8" else max(np.abs(case.expected).max(), 1e-6)
            largest = max(largest, float(error / span))
    return {
        "form": form.name,
        "safe": form.safe,
        "output": output,
        "kernels": sorted(kernels),
        "fused": kernels - {"Transpose"} == {KERNELS[form.op, output]},  # convolutions run channels last
        "values": values,
        "differing": differing,
        "order": sensitive,
        "largest": largest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--form", default="*", help="only the forms that this shell pattern matches")
    parser.add_argument("--every", type=int, default=1, help="take every Nth size only: emulated CPUs are slow")
    parser.add_argument("--json", type=Path, help="also write the results here")
    args = parser.parse_args()
    print(f"onnxruntime {ort.__version__}, {args.threads} threads, CPU: {' '.join(cpu_features()) or 'unknown'}")
    print(f"{'form':49} {'output':8} {'kernel':21} {'values':>9} {'differ':>9} {'order':>9}  largest")
    rows = []
    for form in (form for form in FORMS if fnmatch.fnmatch(form.name, args.form)):
        for output in outputs_of(form):
            sizes = (CONV_SIZES if form.op == "Conv" else SIZES)[:: args.every]
            row = check(form, output, sizes, args.threads, np.random.default_rng(args.seed))
            rows.append(row)
            kernel = "+".join(row["kernels"])
            counts = f"{row['values']:9} {row['differing']:9} {row['order']:9}"
            print(f"{form.name:49} {output:8} {kernel:21} {counts}  {row['largest']:.3g}", flush=True)
    if args.json:
        report = {"onnxruntime": ort.__version__, "cpu": cpu_features(), "threads": args.threads, "forms": rows}
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    failed = [row for row in rows if row["safe"] and (row["differing"] or not row["fused"])]
    print(f"{len(failed)} of {sum(row['safe'] for row in rows)} safe forms differ or are not one integer kernel")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
