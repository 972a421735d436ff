"""How far above onnxruntime's own integer matmuls is a file, on one thread?"""

import json
from collections.abc import Sequence
from functools import partial

from tools.figures.bench import Bench
from tools.figures.latency import SHAPES
from tools.figures.models import Model
from tools.figures.show import markdown_table, percent
from tools.figures.table import Document, Figures, Row, Table

#: Files that `latency` keeps.
FILES = {"ours 8/8": "ours.w8a8.onnx", "ours 4/4": "ours.w4a4.onnx", "ORT static u8s8": "static.u8s8.onnx"}


def rows(_models: Sequence[Model]) -> list[Row]:
    """One for every shape and file."""
    return [Row(f"{arch} {name}", arch, partial(_measured, arch=arch, name=name)) for arch in SHAPES for name in FILES]


def _measured(bench: Bench, arch: str, name: str) -> Figures:
    path = bench.folder / f"peers-{arch}" / FILES[name]
    report = path.with_suffix(".roofline.json")
    bench.commands.module("tools.bench.roofline", path, "--json", report, log=f"roofline-{arch}-{path.stem}")
    found = json.loads(report.read_text(encoding="utf-8"))
    return {"model": arch, "file": name, **{key: found[key] for key in ("rounds", "floor_ms", "whole_ms")}}


def markdown(document: Document) -> str:
    """A row a file."""
    head = ("shapes", "file", "its integer matmuls alone, ms", "whole, ms", "whole / matmuls", "above them")
    return markdown_table(
        head,
        [
            (
                SHAPES[row["model"]],
                row["file"],
                f"{row['floor_ms']:.2f}",
                f"{row['whole_ms']:.2f}",
                f"{row['whole_ms'] / row['floor_ms']:.2f}",
                percent(1 - row["floor_ms"] / row["whole_ms"], 0),
            )
            for row in document.rows
        ],
    )


TABLE = Table("floor", rows, markdown, alone=True)
