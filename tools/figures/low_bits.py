"""What is lost at 2, 3 and 4 bits, at one width or at mixed ones, without gradients and with learned rounding?"""

from collections.abc import Iterator, Sequence
from functools import partial
from glob import escape

from tools.figures.bench import Bench, Exported
from tools.figures.models import Model, decimals_of, title_of
from tools.figures.paired import above_cell, compared, judged, over_cell
from tools.figures.searches import search_of, searched
from tools.figures.show import interval, markdown_table, percent
from tools.figures.table import Document, Figures, Row, Table

#: The last two for onnxruntime, where activations of 8 bits cost nothing.
UNIFORM = ("4/4", "3/3", "3/4", "2/4", "3/8", "2/8")

#: Budget, and the uniform widths that its file stands beside.
BUDGETS = {"3.5": "4/4", "3": "3/3", "2.5": "3/3", "3/4": "3/4", "2.5/4": "3/3", "2.5/8": "3/8"}

BEST, ALL_IMAGES, LEARNED = "best", "best, all images", "--reconstruct"

#: The model whose widths matter most; it has a table to itself.
HARD = "vit_small_200"

_ALL = ("--count", "400")
"""As many images as a folder of any model has; 128 are the default."""

#: How a uniform file is made: options, and what tells its name from that of `best`.
HOW: dict[str, tuple[tuple[str, ...], str]] = {
    BEST: ((), ""),
    ALL_IMAGES: (_ALL, "-all"),
    LEARNED: ((LEARNED, *_ALL), "-learned"),
}

#: How files of mixed widths are made.
HOW_MIXED = (ALL_IMAGES, LEARNED)


def rows(models: Sequence[Model]) -> list[Row]:
    """One a file of the hard model; the searches begin first, files of theirs that wait for them last."""
    return list(_rows([model for model in models if model.key == HARD]))


def rows_of_ten_classes(models: Sequence[Model]) -> list[Row]:
    """The same of all other models."""
    return list(_rows([model for model in models if model.key != HARD]))


def _rows(models: Sequence[Model]) -> Iterator[Row]:
    searches = next(iter(BUDGETS))
    for model in models:
        for how in HOW:
            for bits in UNIFORM:
                measure = partial(_uniform, model=model, bits=bits, how=how)
                yield Row(f"{model.key} {bits} {how}", model.key, measure, turn=1 if how == LEARNED else 2)
        for how in HOW_MIXED:
            for budget in BUDGETS:
                measure = partial(_mixed, model=model, budget=budget, how=how)
                turn = 3 if how == LEARNED else 0 if budget == searches else 4
                yield Row(f"{model.key} mixed {budget} {how}", model.key, measure, turn=turn)


def uniform_file(bench: Bench, model: Model, bits: str, how: str) -> Exported:
    """The file at one width."""
    options, named = HOW[how]
    return bench.export(model, bits, options=options, named=named)


def mixed_file(bench: Bench, model: Model, budget: str, how: str) -> tuple[Exported, tuple[float, float]]:
    """The file at widths of the one search for all budgets, and their means; learned at the widths that it found."""
    _search, found = searched(bench, model, f"{model.key}-low", list(BUDGETS), _ALL)
    search = search_of(found[budget])
    if how != LEARNED:
        return found[budget], search.mean_bits
    pins = [word for layer, bits in search.widths.items() for word in ("--pin", f"{escape(layer)}={bits}")]
    options, named = HOW[how]
    named = f"-at-mixed-{budget.replace('/', '-')}{named}"
    return bench.export(model, "8/8", options=(*options, *pins), named=named), search.mean_bits


def _uniform(bench: Bench, model: Model, bits: str, how: str) -> Figures:
    exported = uniform_file(bench, model, bits, how)
    weights, activations = map(int, bits.split("/"))
    base = None if how == BEST else (f"{bits} {BEST}", uniform_file(bench, model, bits, BEST))
    return _figures(bench, model, bits, how, exported, (weights, activations), base)


def _mixed(bench: Bench, model: Model, budget: str, how: str) -> Figures:
    exported, means = mixed_file(bench, model, budget, how)
    beside = BUDGETS[budget]
    base = (f"{beside} {how}", uniform_file(bench, model, beside, how))
    return _figures(bench, model, f"mixed {budget}", how, exported, means, base)


def _figures(
    bench: Bench,
    model: Model,
    bits: str,
    how: str,
    exported: Exported,
    means: tuple[float, float],
    base: tuple[str, Exported] | None,
) -> Figures:
    found: Figures = {"model": model.key, "bits": bits, "how": how, "mean_bits": list(means), **exported.facts}
    found |= judged(bench, model, exported.path)
    if base is not None:
        name, other = base
        beside = {"file": name, "bytes": other.facts["bytes"], **compared(bench, model, exported.path, other.path)}
        found["beside"] = beside
    return found


def uniform_markdown(document: Document) -> str:
    """A row a file of one width."""
    head = (
        "model", "bits", "how", "MB", "top-1", "float", "agreement", "KL, nats", "KL over that of `best`",
        "top-1 above it, points", "values that differ, float matmuls", "export",
    )  # fmt: skip
    shown = [row for row in document.rows if not row["bits"].startswith("mixed")]
    return markdown_table(head, [(*_name(row), *_closeness(row), *_beside(row), *_made(row)) for row in shown])


def mixed_markdown(document: Document) -> str:
    """A row a file of mixed widths, beside the uniform one that it is compared with."""
    head = (
        "model", "widths", "how", "mean bits", "MB", "top-1", "float", "agreement", "KL, nats", "beside", "its MB",
        "KL over it", "top-1 above it, points", "agreement above it", "values that differ, float matmuls",
    )  # fmt: skip
    cells = []
    for row in document.rows:
        if row["bits"].startswith("mixed"):
            means = "{:.2f}/{:.2f}".format(*row["mean_bits"])
            beside = row["beside"]
            other = (beside["file"].partition(" ")[0], f"{beside['bytes'] / 1e6:.2f}")
            agrees = above_cell(beside["agreement_above"])
            name, (size, *close) = _name(row), _closeness(row)
            cells.append((*name, means, size, *close, *other, *_beside(row), agrees, _made(row)[0]))
    return markdown_table(head, cells)


def _name(row: Figures) -> tuple[str, str, str]:
    return title_of(row["model"]), row["bits"], f"`{row['how']}`"


def _closeness(row: Figures) -> tuple[str, ...]:
    digits = decimals_of(row["model"])
    return (
        f"{row['bytes'] / 1e6:.2f}",
        percent(row["top1"], digits),
        percent(row["float_top1"], digits),
        percent(row["agreement"], digits),
        f"{row['kl']:.4f} ({interval(row['kl_interval'], 1, '.4f')})",
    )


def _beside(row: Figures) -> tuple[str, str]:
    if "beside" not in row:
        return "", ""
    return over_cell(row["beside"]["kl_over"]), above_cell(row["beside"]["top1_above"])


def _made(row: Figures) -> tuple[str, str]:
    proof = f"{row['differing']:,} of {row['values']:,}, {row['float_matmuls']}"
    seconds = row.get("seconds", "")  # of the files of a search there is no time of each
    return proof, "interrupted" if seconds is None else seconds and f"{seconds:.0f} s"


TABLE = Table("low-bits", rows, uniform_markdown)
TEN_CLASSES = Table("low-bits-ten-classes", rows_of_ten_classes, uniform_markdown)
