"""The files of the HTP table: one model at the widths that HTP computes, by `best`, by `paper` and by plain min/max.

    python -m tools.bench.htp_files CHECKPOINT --calib DIR --out DIR [--rows best-8/8-16 ...] [--count 128] [--device D]
    python -m tools.bench.htp DIR/*.onnx --data VAL --out RESULTS --json FILE

A row is METHOD-W/A-RESIDUAL, such as `minmax-8/8-8`, or METHOD-BUDGET-RESIDUAL for a search, such as `best-5-16` or
`best-5/12-16` with `mixed` in front: `mixed:best-5-16`. Files are named by their rows. The float model is written too,
as `float.onnx`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mptq_export.allocate.run import allocate
from mptq_export.api import export
from mptq_export.calibrate.run import calibrate
from mptq_export.cli.terminal import Terminal
from mptq_export.load.run import load
from tools.options import Parser, existing, positive

ROWS = (
    "best-8/8-8", "best-8/8-16", "best-4/16-16", "mixed:best-5-16", "mixed:best-5/12-16",
    "paper-8/8-8", "paper-8/8-16", "paper-4/16-16",
    "minmax-8/8-8", "minmax-8/8-16", "minmax-4/16-16",
)  # fmt: skip


def write(*, checkpoint: str, calib: Path, out: Path, rows: list[str], count: int, device: str | None) -> int:
    out.mkdir(parents=True, exist_ok=True)
    calibrated = calibrate(load(checkpoint), calib, count=count, device=device, progress=Terminal())
    floating = None if (out / "float.onnx").exists() else out / "float.onnx"
    for row in rows or ROWS:
        asked, residual = row.removeprefix("mixed:").rsplit("-", 1)
        method, widths = asked.split("-")
        path = out / f"{row.replace('/', '_').replace(':', '-')}.onnx"
        common = {"target": "qnn", "float_onnx": floating, "force": True}
        if row.startswith("mixed:"):
            (found,) = allocate(
                calibrated,
                widths,
                method=method,  # type: ignore[arg-type]
                target="qnn",
                residual_bits=int(residual),
                progress=Terminal(),
            )
            export(found, path, **common)  # type: ignore[arg-type]
        else:
            weights, activations = map(int, widths.split("/"))
            export(
                calibrated,
                path,
                bits=(weights, activations),
                method=method,  # type: ignore[arg-type]
                residual_bits=int(residual),
                **common,  # type: ignore[arg-type]
            )
        floating = None
        print(path, flush=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.htp_files", __doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--calib", type=existing, required=True, help="folder of calibration images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the files")
    parser.add_argument("--rows", nargs="*", default=[], help="default: all of the table")
    parser.add_argument("--count", type=positive, default=128, help="calibration images")
    parser.add_argument("--device", help="torch device; default: a GPU where there is one")
    return parser.run(write, arguments)


if __name__ == "__main__":
    sys.exit(main())
