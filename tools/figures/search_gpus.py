"""How much faster is a search on all GPUs of a machine than on one, and does it find the same?"""

import json
from collections.abc import Sequence
from functools import partial

from tools.figures.bench import Bench, Facts
from tools.figures.models import Model, title_of
from tools.figures.show import markdown_table
from tools.figures.table import Document, Figures, Row, Table

#: One GPU, and all of one kind.
_ONE, _ALL = "cuda:0", "cuda"

_OF = ("deit_tiny", "vit_small")


def rows(models: Sequence[Model]) -> list[Row]:
    """One a model, both searches."""
    return [Row(m.key, m.key, partial(_measured, model=m)) for m in models if m.key in _OF]


def _measured(bench: Bench, model: Model) -> Figures:
    one, every = (_searched(bench, model, device) for device in (_ONE, _ALL))
    same = all(one[key] == every[key] for key in ("measurements_sha256", "widths_sha256"))
    seconds = {"one_seconds": one["seconds"], "all_seconds": every["seconds"]}
    return {"model": model.key, **seconds, "measured": one["measured"], "same": same}


def _searched(bench: Bench, model: Model, device: str) -> Facts:
    name = f"{model.key}-search-{device.replace(':', '')}"
    report = bench.folder / f"{name}.json"
    given = (model.checkpoint, "--calib", model.calib, "--device", device, "--json", report)
    bench.commands.module("tools.bench.search_time", *given, log=name)
    found: Facts = json.loads(report.read_text(encoding="utf-8"))
    return found


def markdown(document: Document) -> str:
    """A row a model."""
    head = ("model", "candidates measured", "one GPU", "all", "times as fast", "measurements and widths")
    return markdown_table(
        head,
        [
            (
                title_of(row["model"]),
                str(row["measured"]),
                f"{row['one_seconds']:.0f} s",
                f"{row['all_seconds']:.0f} s",
                f"{row['one_seconds'] / row['all_seconds']:.2f}",
                "the same" if row["same"] else "different",
            )
            for row in document.rows
        ],
    )


TABLE = Table("search-gpus", rows, markdown, alone=True)
