"""How accurate is the demo's file when it was calibrated on synthetic images?"""

from collections.abc import Sequence
from functools import partial

from tools.figures.deployed import CLOSENESS, closeness, deployed, name_of
from tools.figures.models import Model
from tools.figures.show import markdown_table
from tools.figures.table import Document, Row, Table

WIDTHS = ("8/8", "6/6", "4/4", "3/3")


def rows(models: Sequence[Model]) -> list[Row]:
    """One a width."""
    return [
        Row(f"{m.key} {bits}", m.key, partial(deployed, model=m, bits=bits, method="best", images=False))
        for m in models
        if m.key == "digits"
        for bits in WIDTHS
    ]


def markdown(document: Document) -> str:
    """A row a width."""
    return markdown_table(("bits", *CLOSENESS), [(name_of(row)[1], *closeness(row)) for row in document.rows])


TABLE = Table("without-images", rows, markdown)
