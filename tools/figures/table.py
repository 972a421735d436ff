"""What a table of figures is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tools.figures.bench import Bench
from tools.figures.models import Model

Figures = dict[str, Any]
"""One row: plain JSON values, with the keys that its table's `markdown` reads."""


@dataclass(frozen=True)
class Document:
    """The figures of one table, as ``docs/figures/NAME.json`` keeps them.

    Attributes:
        table: the table's name.
        commit: of the code that was measured, for all rows.
        machines: where rows were measured; a row's ``machine`` is a place in this list.
        versions: of Python and the libraries, by name, for all rows.
        rows: the figures, in the table's order.
    """

    table: str
    commit: str
    machines: tuple[str, ...]
    versions: dict[str, str]
    rows: tuple[Figures, ...]


@dataclass(frozen=True)
class Row:
    """Something to measure.

    Attributes:
        key: its name within its table.
        model: key of the model that it is about.
        measure: does it.
        turn: rows of a lower one begin earlier.
    """

    key: str
    model: str
    measure: Callable[[Bench], Figures]
    turn: int = 0


@dataclass(frozen=True)
class Table:
    """One question and its answer.

    Attributes:
        name: of its JSON file, and of its marked region in the pages.
        rows: what it holds for these models, in the order in which it is read.
        markdown: the rows as a Markdown table.
        alone: whether its rows are timings that nothing else may disturb.
    """

    name: str
    rows: Callable[[Sequence[Model]], list[Row]]
    markdown: Callable[[Document], str]
    alone: bool = False
