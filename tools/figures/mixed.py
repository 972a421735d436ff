"""What does a search of the widths win over one width for all layers?"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tools.figures.bench import Bench, Facts
from tools.figures.models import Model, decimals_of, title_of
from tools.figures.paired import above_cell, over_cell
from tools.figures.searches import searched
from tools.figures.show import markdown_table, percent
from tools.figures.table import Document, Figures, Row, Table

#: Mean width, and the uniform one that it stands beside: of those that are measured, the narrowest that costs as much.
BUDGETS = {"4.5": "5/5", "4": "4/4", "3.5": "4/4"}
#: Two uniform files that every mixed one is compared with.
UNIFORM = tuple(dict.fromkeys(BUDGETS.values()))


def rows(models: Sequence[Model]) -> list[Row]:
    """One a model: its files come from one search."""
    return [Row(m.key, m.key, partial(_measured, model=m)) for m in models]


def _measured(bench: Bench, model: Model) -> Figures:
    name = f"{model.key}-mixed"
    search, mixed_files = searched(bench, model, name, list(BUDGETS))
    files = {f"uniform {bits}": bench.export(model, bits).path for bits in UNIFORM}
    files |= {f"mixed {budget}": exported.path for budget, exported in mixed_files.items()}
    report = bench.folder / f"{name}.table.json"
    beside = [argument for bits in UNIFORM for argument in ("--uniform", files[f"uniform {bits}"])]
    mixed = [files[f"mixed {budget}"] for budget in BUDGETS]
    given = (model.checkpoint, *mixed, "--data", model.val, *beside, "--json", report)
    bench.commands.module("tools.bench.mixed_table", *given, log=f"{name}.table")
    table = json.loads(report.read_text(encoding="utf-8"))
    found = {row["file"]: row for row in table["rows"]}
    return {
        "model": model.key,
        "images": table["images"],
        "float_top1": found["float"]["top1"],
        "search": search,
        "files": [_file(title, path, found[str(path)], files) for title, path in files.items()],
    }


def _file(title: str, path: Path, row: Figures, files: dict[str, Path]) -> Figures:
    found: Figures = {"file": title, "bytes": path.stat().st_size, "top1": row["top1"], "kl": row["kl"]}
    kind, _, width = title.partition(" ")
    if kind == "mixed":
        base = BUDGETS[width]
        compared = str(files[f"uniform {base}"])
        found |= {"beside": base, "kl_over": row["kl_over"][compared], "top1_above": row["top1_above"][compared]}
    return found


def markdown(document: Document) -> str:
    """A row a file; the search on the first of its model."""
    head = ("model", "file", "MB", "top-1", "KL, nats", "beside", "KL over it", "top-1 above it, points")
    return markdown_table(head, [cells for row in document.rows for cells in _cells(row)])


def _cells(row: Figures) -> list[tuple[str, ...]]:
    digits, title = decimals_of(row["model"]), title_of(row["model"])
    found: list[tuple[str, ...]] = [(title, "float", "", percent(row["float_top1"], digits), "", "", "", "")]
    for file in row["files"]:
        over = above = ""
        if "beside" in file:
            over, above = over_cell(file["kl_over"]), above_cell(file["top1_above"])
        share = percent(file["top1"], digits)
        size = f"{file['bytes'] / 1e6:.2f}"
        found.append((title, file["file"], size, share, f"{file['kl']:.4f}", file.get("beside", ""), over, above))
    return found


def search_markdown(document: Document) -> str:
    """What the searches took, all budgets and files included."""
    return markdown_table(
        ("model", "search and its files", "peak memory"),
        [
            (title_of(row["model"]), _seconds(row["search"]), f"{row['search']['peak_mb'] / 1e3:.2f} GB")
            for row in document.rows
        ],
    )


def _seconds(search: Facts) -> str:
    return "interrupted" if search["seconds"] is None else f"{search['seconds']:.0f} s"


TABLE = Table("mixed", rows, markdown)
