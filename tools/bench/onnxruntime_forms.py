"""Every form of one model in onnxruntime: exact, generic, portable for other runtimes, quantize_static, float.

    python -m tools.bench.onnxruntime_forms CHECKPOINT --calib DIR --val DIR --keep DIR [--targets T ...] [--json FILE]

`quantize_static` is onnxruntime's own quantizer (QDQ, u8 activations, s8 weights per channel, min/max ranges), of all
ops, or of matmuls and convolutions alone. Ratios are to our exact file, of the same round. Files for other runtimes are
among them to show what they cost here.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from rich.console import Console

from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.cli.common import write_json
from mptq_export.targets.table import TARGETS
from mptq_export.verify.kernels.plan import read_kernel_plan
from tools.bench.forms import WIDTH, Form, Model, add_options, closeness, logits, open_model, show, timed
from tools.bench.peer import onnx_predict
from tools.bench.static_peers import quantized_statically
from tools.options import Parser

_STATIC = {"quantize_static, all ops": None, "quantize_static, matmuls": ("MatMul", "Gemm", "Conv")}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.onnxruntime_forms", __doc__)
    add_options(parser)
    portable = [name for name, target in TARGETS.items() if target.portable]
    parser.add_argument("--targets", nargs="+", choices=portable, default=["generic", "openvino", "qnn", "rknn", "st"])
    return parser.run(run, arguments)


def run(
    *,
    checkpoint: Path,
    calib: Path,
    val: Path,
    keep: Path,
    count: int,
    images: int,
    methods: Sequence[Any],
    threads: tuple[int, ...],
    rounds: int,
    accuracy: bool,
    json_path: Path | None,
    targets: Sequence[str],
) -> None:
    model = open_model(checkpoint, calib, val, keep, count=count, images=images)
    named = [(target, method) for target in ("ort", *targets) for method in methods]
    files = {f"{target}, {method}": model.exported(target, method) for target, method in named}
    base = next(iter(files))
    files |= {name: static_file(model, name) for name in _STATIC} | {"float": model.floating}
    forms = [form(name, path) for name, path in files.items()]
    rows: list[dict[str, Any]] = [{"form": each.name, **each.facts, "timings": []} for each in forms]
    for number in threads:
        found = timed(forms, model.images[:1], number, rounds, base)
        for row in rows:
            row["timings"].append(found[row["form"]])
    if accuracy:
        floating = logits(onnx_predict(model.floating, 1), model.images, "float")
        for each, row in zip(forms, rows, strict=True):
            row.update(closeness(each, model, floating))
    console = Console(highlight=False, width=WIDTH)
    console.print(f"{checkpoint.name}, {detect_cpu().description}; onnxruntime {ort.__version__}", soft_wrap=True)
    show(rows, base, console)
    report: dict[str, Any] = {
        "model": checkpoint.name,
        "cpu": asdict(detect_cpu()),
        "onnxruntime": ort.__version__,
        "calibration_images": count,
        "images": len(model.images),
        "rounds": rounds,
        "models": rows,
    }
    write_json(json_path, report)


def static_file(model: Model, name: str) -> Path:
    """The float file through onnxruntime's own quantizer."""
    path = model.folder / f"{name.replace(', ', '.').replace(' ', '_')}.onnx"
    if not path.exists():
        inputs = [image[None] for image in np.load(model.inputs)]
        quantized_statically(model.floating, path, inputs, _STATIC[name])
    return path


def form(name: str, path: Path) -> Form:
    """A file in onnxruntime, with the kernels that its matmuls became."""
    plan = read_kernel_plan(path)
    facts = {"matmuls_integer": len(plan.integer), "matmuls_float": len(plan.floating)}
    return Form(name, lambda threads: onnx_predict(path, threads), facts)


if __name__ == "__main__":
    sys.exit(main())
