"""How accurate is the exported file?"""

from collections.abc import Sequence
from functools import partial

from tools.figures.deployed import CLOSENESS, closeness, deployed, name_of
from tools.figures.models import Model
from tools.figures.show import markdown_table
from tools.figures.table import Document, Row, Table

#: (bits, method) of every model, as read.
WIDTHS = (
    *((f"{bits}/{bits}", "best") for bits in (8, 6, 4, 3)),
    *((f"{bits}/{bits}", "paper") for bits in (8, 6, 4, 3)),
)


def rows(models: Sequence[Model]) -> list[Row]:
    """One for every model, width and method."""
    return [
        Row(f"{m.key} {bits} {how}", m.key, partial(deployed, model=m, bits=bits, method=how))
        for m in models
        for bits, how in WIDTHS
    ]


def markdown(document: Document) -> str:
    """A row a file."""
    head = ("model", "bits", "`--method`", *CLOSENESS)
    return markdown_table(head, [(*name_of(row), *closeness(row)) for row in document.rows])


TABLE = Table("accuracy", rows, markdown)
