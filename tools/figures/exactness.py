"""Is every value of the file the same in onnxruntime and in `kernels_ref`?"""

import json
from collections.abc import Sequence
from functools import partial

from tools.figures.bench import Bench
from tools.figures.models import Model, title_of
from tools.figures.show import markdown_table
from tools.figures.table import Document, Figures, Row, Table

WIDTHS = ("8/8", "6/6", "4/4", "3/3")
IMAGES = 16
_VERDICTS = (0, 1, 3)
"""Exit statuses of ``mptq-verify`` with which it has a verdict, good or bad: a bad one is a figure too."""


def rows(models: Sequence[Model]) -> list[Row]:
    """One for every model and width."""
    return [Row(f"{m.key} {bits}", m.key, partial(_measured, model=m, bits=bits)) for m in models for bits in WIDTHS]


def _measured(bench: Bench, model: Model, bits: str) -> Figures:
    path = bench.export(model, bits).path
    report = path.with_suffix(".verify.json")
    given = (path, "--images", model.val, "--limit", IMAGES, "--json", report)
    bench.commands.console("verify", *given, log=f"{path.stem}.verify", allowed=_VERDICTS)
    found = json.loads(report.read_text(encoding="utf-8"))
    kinds = [matmul["kind"] for matmul in found["plan"]["matmuls"]]
    return {
        "model": model.key,
        "bits": bits,
        "images": found["samples"],
        "verdict": found["verdict"],
        "tensors": found["tensors_compared"] + found["tensors_folded"],
        "values": found["values"],
        "differing": found["differing"],
        "matmuls": {kind: kinds.count(kind) for kind in ("integer", "float")},
    }


def markdown(document: Document) -> str:
    """A row a file."""
    head = ("model", "bits", "images", "tensors", "values", "differing", "verdict", "matmuls: integer, float")
    return markdown_table(
        head,
        [
            (
                title_of(row["model"]),
                row["bits"],
                str(row["images"]),
                str(row["tensors"]),
                f"{row['values']:,}",
                f"{row['differing']:,}",
                row["verdict"],
                f"{row['matmuls']['integer']}, {row['matmuls']['float']}",
            )
            for row in document.rows
        ],
    )


TABLE = Table("exactness", rows, markdown)
