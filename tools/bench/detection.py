"""What quantization costs a whole detector: AP of its float model and of files at several widths, on the same pictures.

    python -m tools.bench.detection MODEL --calib DIR --data DIR --out DIR [--backbone PATH] [--row ROW ...]
                                    [--jobs N] [--threads N] [--minutes M] [--json FILE]

MODEL is what `mptq-export` takes, such as `examples.detection.detectors:fcos`; DIR of --data has pictures and
annotations in COCO's format. Rows: float; 8/8, 6/6 and 4/4 with `best`; mixed widths with a mean of 4; 4/4 with `paper`
and with `minmax`; and, where --backbone names the module, that alone at 4/4 with all else float. A row exports,
evaluates and runs `mptq-verify`, and leaves ROW.json in --out: what is there is not measured again, so rows can run
in any number of processes (--jobs, with --threads CPUs each) and at several times. With --minutes it ends in time, and
says what is missing by its exit status (3).
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rich.console import Console
from rich.table import Table

from mptq_export.cli.common import write_json
from mptq_export.support.errors import MptqError
from tools.bench.detection_ap import part_files
from tools.bench.detection_options import Loading, add_loading
from tools.figures.commands import CommandError, Commands
from tools.options import Parser, existing, positive

_MISSING = 3
_FLOAT, _BACKBONE = "float", "backbone 4/4"

#: What `mptq-export` is told for the files of a row.
_EXPORTS: dict[str, tuple[str, ...]] = {
    "8/8": ("--bits", "8/8"),
    "6/6": ("--bits", "6/6"),
    "4/4": ("--bits", "4/4"),
    "mixed 4": ("--mixed", "4", "--metric", "detection"),
    "paper 4/4": ("--bits", "4/4", "--method", "paper"),
    "minmax 4/4": ("--bits", "4/4", "--method", "minmax"),
}
ROWS = (_FLOAT, *_EXPORTS, _BACKBONE)

#: Those that take longest begin first.
_ORDER = ("mixed 4", "4/4", "6/6", "8/8", _FLOAT, _BACKBONE, "paper 4/4", "minmax 4/4")


@dataclass(frozen=True)
class Asked:
    """What all rows share.

    Attributes:
        loading: the detector.
        calib: calibration images.
        count: how many of them.
        data: pictures to judge on, in COCO's format.
        images: how many of them; None for all.
        out: folder of files, logs and rows.
        backbone: the module of the backbone; None where no row needs it.
        device: torch device of exports; None for theirs.
        verified: inputs that `mptq-verify` runs.
    """

    loading: Loading
    calib: Path
    count: int
    data: Path
    images: int | None
    out: Path
    backbone: str | None
    device: str | None
    verified: int

    def row_file(self, row: str) -> Path:
        """Where a row is kept."""
        return self.out / f"{stem(row)}.json"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.detection", __doc__)
    add_loading(parser)
    parser.add_argument("--calib", type=existing, required=True, help="Calibration images.")
    parser.add_argument("--count", type=positive, default=128, help="Calibration images.")
    parser.add_argument("--data", type=existing, required=True, help="Test pictures and annotations.")
    parser.add_argument("--images", type=positive, help="At most so many test pictures.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--backbone", metavar="PATH", help="The module of the backbone, such as backbone.swin.")
    parser.add_argument("--row", dest="rows", action="append", choices=ROWS, help="Only these. Default: all.")
    parser.add_argument("--device", help="torch device of exports. Default: a GPU where there is one.")
    parser.add_argument("--verified", type=positive, default=8, help="Inputs that mptq-verify runs.")
    parser.add_argument("--jobs", type=positive, default=1, help="Rows at a time.")
    parser.add_argument("--threads", type=positive, default=1, help="CPUs for each of them.")
    parser.add_argument("--minutes", type=float, help="End in time.")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    calib: Path,
    count: int,
    data: Path,
    images: int | None,
    out: Path,
    backbone: str | None,
    rows: Sequence[str] | None,
    device: str | None,
    verified: int,
    jobs: int,
    threads: int,
    minutes: float | None,
    json_path: Path | None,
    **loading: Any,
) -> int:
    if backbone is None and _BACKBONE in (rows or ()):
        raise MptqError(f"row {_BACKBONE!r} needs --backbone")
    wanted = [row for row in rows or ROWS if row != _BACKBONE or backbone is not None]
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    asked = Asked(
        Loading(**loading), calib.resolve(), count, data.resolve(), images, out.resolve(), backbone, device, verified
    )
    _measure_all([row for row in _ORDER if row in wanted], asked, jobs, threads, deadline)
    report = collected(asked, wanted)
    write_json(json_path, report)
    Console(highlight=False, width=160).print(table_of(report["rows"], asked.loading.model))
    missing = [row for row in wanted if not asked.row_file(row).exists()]
    if missing:
        print(f"missing: {', '.join(missing)}; logs are in {out / 'logs'}", file=sys.stderr)
    return _MISSING if missing else 0


def stem(row: str) -> str:
    """A row's name as a file's."""
    return row.replace("/", "").replace(" ", "-")


def collected(asked: Asked, wanted: Sequence[str]) -> dict[str, Any]:
    """All rows that are there, in order, and what they were measured with."""
    files = [asked.row_file(row) for row in wanted]
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    name = asked.loading.model.rpartition(":")[2]
    images = max((row.pop("images") for row in rows), default=0)
    return {"model": name, "images": images, "calibration_images": asked.count, "rows": rows}


def table_of(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """The rows for people."""
    floats = next((row for row in rows if row["row"] == _FLOAT), None)
    kinds = [kind for kind in ("box", "mask") if any(row[kind] for row in rows)]
    heads = [head for kind in kinds for head in (f"{kind} AP", "lost", "AP50", "AP75")]
    table = Table("row", *heads, "bytes", "differing", "export, s", title=title, box=None, padding=(0, 1))
    for row in rows:
        cells = []
        for kind in kinds:
            figures, beside = row[kind], floats[kind] if floats else None
            lost = f"{beside['ap'] - figures['ap']:.2f}" if beside and row is not floats else ""
            cells += [f"{figures['ap']:.2f}", lost, f"{figures['ap50']:.2f}", f"{figures['ap75']:.2f}"]
        known = [
            "" if row[key] is None else form.format(row[key])
            for key, form in (("bytes", "{:,}"), ("differing", "{}"), ("export_seconds", "{:.0f}"))
        ]
        table.add_row(row["row"], *cells, *known)
    return table


def _measure_all(rows: Sequence[str], asked: Asked, jobs: int, threads: int, deadline: float | None) -> None:
    """Measure what is missing, so many rows at a time on CPUs of their own; a row that fails stops no other."""
    cpus = sorted(os.sched_getaffinity(0))
    shares: SimpleQueue[frozenset[int]] = SimpleQueue()
    for job in range(jobs):
        shares.put(frozenset(cpus[place % len(cpus)] for place in range(job * threads, (job + 1) * threads)))

    def measured(row: str) -> None:
        cores = shares.get()
        try:
            _measure(row, asked, Commands(cores, asked.out / "logs", deadline), len(cores))
        except CommandError as error:
            print(f"{row}: {error}", file=sys.stderr, flush=True)
        finally:
            shares.put(cores)

    missing = [row for row in rows if not asked.row_file(row).exists()]
    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(measured, missing):
            pass


def _measure(row: str, asked: Asked, commands: Commands, threads: int) -> None:
    """Export, evaluate and verify one row, and keep it."""
    made: dict[str, Any] = {"row": row, "bytes": None, "files": None, "values": None, "differing": None}
    made["export_seconds"] = None
    name, what = stem(row), ["--data", asked.data]
    if row == _BACKBONE:
        file = asked.out / f"{name}.onnx"
        options = [*_calibration(asked), "--backbone", asked.backbone, "--bits", "4/4", "-o", file]
        if not file.exists():
            ran = commands.module("tools.bench.detection_backbone", *asked.loading.words(), *options, log=name)
            made["export_seconds"] = ran.seconds
        what += ["--backbone", asked.backbone, "--maps", file]
        made |= _verified([file], asked, commands, name)
    elif row != _FLOAT:
        file = asked.out / f"{name}.onnx"
        if not file.exists():
            options = [*_calibration(asked), *_EXPORTS[row], "-o", file, "--force", "-q"]
            resumed = ["--resume"] if file.with_suffix(".search.jsonl").exists() else []
            ran = commands.console("export", *asked.loading.words(), *options, *resumed, log=name)
            made["export_seconds"] = ran.seconds
        what += ["--files", file]
        made |= _verified([path for path in part_files(file) if path.exists()], asked, commands, name)
    found = asked.out / f"{name}.ap.json"
    limit = [] if asked.images is None else ["--images", asked.images]
    options = [*what, *limit, "--threads", threads, "--json", found]
    commands.module("tools.bench.detection_ap", *asked.loading.words(), *options, log=f"{name}.ap")
    made |= json.loads(found.read_text(encoding="utf-8"))
    write_json(asked.row_file(row), made)
    print(f"{row}: {made['box']['ap']:.2f} box AP", flush=True)


def _calibration(asked: Asked) -> list[object]:
    device = [] if asked.device is None else ["--device", asked.device]
    return ["--calib", asked.calib, "--count", asked.count, *device]


def _verified(files: Sequence[Path], asked: Asked, commands: Commands, name: str) -> dict[str, int]:
    """Bytes of a row's files, and of all tensors of their inputs the values that differ; heads run on made-up ones."""
    total = {"bytes": sum(file.stat().st_size for file in files), "files": len(files), "values": 0, "differing": 0}
    for number, file in enumerate(files):
        report = asked.out / f"{file.stem}.verify.json"
        inputs = ["--images", asked.data, "--limit", asked.verified] if number == 0 else []
        commands.console("verify", file, *inputs, "--json", report, log=f"{name}.verify{number}", allowed=(0, 1, 3))
        found = json.loads(report.read_text(encoding="utf-8"))
        total["values"] += found["values"]
        total["differing"] += found["differing"]
    return total


if __name__ == "__main__":
    sys.exit(main())
