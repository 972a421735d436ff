"""How long a search of widths takes, and what it measured: to compare devices, which shall find the same.

    python -m tools.bench.search_time MODEL --calib DIR --budget 3 [--count 128] [--device cuda:0] --json FILE

`cuda` stands for all GPUs of one kind, `cuda:0` for one. FILE has the seconds of the search alone, how many candidates
it measured, and SHA-256 of all of its measurements and of the widths that it found.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mptq_export.api import allocate, calibrate, load
from tools.options import Parser, Repeated, existing, positive


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.search_time", __doc__)
    parser.add_argument("model")
    parser.add_argument("--calib", type=existing, required=True)
    parser.add_argument("--budget", dest="budgets", action=Repeated, default=("3",), help="As --mixed. Default: 3.")
    parser.add_argument("--count", type=positive, default=128, help="Calibration images.")
    parser.add_argument("--device", help="torch device. Default: all GPUs where there are some.")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *, model: str, calib: Path, budgets: tuple[str, ...], count: int, device: str | None, json_path: Path | None
) -> None:
    calibrated = calibrate(load(model), calib, count=count, device=device)
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "search.jsonl"
        start = time.monotonic()
        found = allocate(calibrated, budgets, journal=journal)
        seconds = time.monotonic() - start
        measured = [line for line in journal.read_text(encoding="utf-8").splitlines() if line.startswith('{"widths"')]
    widths = [sorted(each.found.widths.items()) for each in found]
    report = {
        "seconds": seconds,
        "measured": len(measured),
        "measurements_sha256": hashlib.sha256("\n".join(measured).encode()).hexdigest(),
        "widths_sha256": hashlib.sha256(json.dumps(widths).encode()).hexdigest(),
    }
    print(json.dumps(report))
    if json_path is not None:
        json_path.write_text(json.dumps(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
