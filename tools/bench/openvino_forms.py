"""Our file for OpenVINO beside NNCF's own int8 of the same float model, in OpenVINO: latency in turn, and closeness.

    python -m tools.bench.openvino_forms CHECKPOINT --calib DIR --val DIR --keep DIR --nncf-python PYTHON [--json FILE]

PYTHON is that of an environment with nncf and openvino; NNCF quantizes on the same calibration images. All is measured
in each precision of --precisions: `default` is OpenVINO's own configuration (bfloat16 where the CPU has it), `f32` what
a CPU without bfloat16 does. Ratios are to NNCF's int8, of the same round.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.cli.common import write_json
from mptq_export.runtime.edge.openvino import open_openvino
from mptq_export.runtime.edge.options import EdgeOptions, Precision
from mptq_export.support.errors import MptqError
from tools.bench.forms import WIDTH, Form, Model, add_options, closeness, logits, open_model, show, timed
from tools.bench.peer import Predict, onnx_predict
from tools.options import Parser, existing

_WORKER = Path(__file__).with_name("nncf_int8.py")
_BASE = "NNCF int8"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.openvino_forms", __doc__)
    add_options(parser)
    parser.add_argument("--nncf-python", type=existing, default=Path(sys.executable), help="Python that has nncf.")
    parser.add_argument("--precisions", nargs="+", choices=("default", "f32", "bf16"), default=["default", "f32"])
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
    nncf_python: Path,
    precisions: Sequence[str],
) -> None:
    model = open_model(checkpoint, calib, val, keep, count=count, images=images)
    files = {"float": model.floating, _BASE: nncf_file(model, nncf_python)}
    files |= {f"ours, {method}": model.exported("openvino", method) for method in methods}
    floating = logits(onnx_predict(model.floating, 1), model.images, "float") if accuracy else np.empty(0)
    console, tables = Console(highlight=False, width=WIDTH), []
    for precision in precisions:
        forms = [form(name, path, precision) for name, path in files.items()]
        rows: list[dict[str, Any]] = [{"form": each.name, **each.facts, "timings": []} for each in forms]
        for number in threads:
            found = timed(forms, model.images[:1], number, rounds, _BASE)
            for row in rows:
                row["timings"].append(found[row["form"]])
        if accuracy:
            for each, row in zip(forms, rows, strict=True):
                row.update(closeness(each, model, floating))
        tables.append({"precision": precision, "models": rows})
        console.print(f"{checkpoint.name}, {detect_cpu().description}; {rows[0]['device']}")
        show(rows, _BASE, console)
    report: dict[str, Any] = {
        "model": checkpoint.name,
        "cpu": asdict(detect_cpu()),
        "calibration_images": count,
        "images": len(model.images),
        "rounds": rounds,
        "tables": tables,
    }
    write_json(json_path, report)


def nncf_file(model: Model, python: Path) -> Path:
    """NNCF's int8 of the float file.

    Raises:
        MptqError: that Python cannot do it.
    """
    path = model.folder / "nncf.xml"
    if not path.exists():
        command = [str(python), str(_WORKER), str(model.floating), str(model.inputs), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise MptqError(f"{python} cannot quantize with NNCF: {last}; name a Python with --nncf-python")
    return path


def form(name: str, path: Path, precision: str) -> Form:
    """A file in OpenVINO, with what its own record says of it."""
    options: Precision | None = None if precision == "default" else precision  # type: ignore[assignment]
    session = open_openvino(path, EdgeOptions(precision=options))
    kernels = [{"op": each.op, "numbers": each.numbers, "count": each.count} for each in session.placement.ops]
    facts = {"runtime": session.version, "device": session.device, "kernels": kernels}
    session.close()
    return Form(name, lambda threads: _predict(path, EdgeOptions(threads=threads, precision=options)), facts)


def _predict(path: Path, options: EdgeOptions) -> Predict:
    session = open_openvino(path, options)
    return lambda x: next(iter(session.run(x).values()))


if __name__ == "__main__":
    sys.exit(main())
