"""How fast is a file beside the float model and beside onnxruntime's own quantizer?"""

import json
from collections.abc import Sequence
from functools import partial

from tools.figures.bench import Bench
from tools.figures.models import Model
from tools.figures.show import markdown_table
from tools.figures.table import Document, Figures, Row, Table

#: Shapes with random weights: what a matmul takes does not depend on them.
SHAPES = {"deit_tiny_patch16_224": "DeiT-tiny", "deit_small_patch16_224": "DeiT-S"}
THREADS = (1, 4)
_BASE = "ours 8/8"


def rows(_models: Sequence[Model]) -> list[Row]:
    """One for every shape: its files run in turn in one process."""
    return [Row(arch, arch, partial(_measured, arch=arch)) for arch in SHAPES]


def _measured(bench: Bench, arch: str) -> Figures:
    folder = bench.folder / f"peers-{arch}"
    report = bench.folder / f"peers-{arch}.json"
    threads = [argument for number in THREADS for argument in ("--threads", number)]
    given = ("--random", arch, "--count", 8, "--no-openvino", "--no-checks", *threads, "--keep", folder)
    bench.commands.module("tools.bench.peers", *given, "--json", report, log=f"peers-{arch}")
    found = json.loads(report.read_text(encoding="utf-8"))
    return {"model": arch, "rounds": found["rounds"], "peers": found["models"]}


def markdown(document: Document) -> str:
    """A row for every file and number of threads; ratios of the same rounds, with quartiles."""
    head = ("shapes", "threads", "file", "MB", "ms", f"over {_BASE} (quartiles)")
    return markdown_table(head, [cells for row in document.rows for cells in _cells(row)])


def _cells(row: Figures) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for number in range(len(row["peers"][0]["timings"])):
        for peer in row["peers"]:
            timing = peer["timings"][number]
            over = timing["over"][_BASE]
            ratio = f"{over['median']:.2f} ({over['low']:.2f} to {over['high']:.2f})"
            size, median = f"{peer['file_bytes'] / 1e6:.2f}", f"{timing['latency_ms']['median']:.2f}"
            found.append((SHAPES[row["model"]], str(timing["threads"]), peer["name"], size, median, ratio))
    return found


TABLE = Table("latency", rows, markdown, alone=True)
