"""The list of all layers: what each has and how far its result is off, for the page and as CSV."""

import csv
import io
import math
from dataclasses import dataclass
from typing import Literal

from mptq_export.report.export_files import Export
from mptq_export.report.network import layers_of

#: Decibels that fill a bar: the same on every page.
FULL_DB = 60.0

#: Columns of the CSV; `templates/layers.js` writes the same ones.
COLUMNS = ("position", "layer", "kind", "weight_bits", "activation_bits", "parameters", "macs", "sqnr_db")

RowKind = Literal["layer", "product", "stream"]
"""A layer with weights, a product of two activations, or a residual sum."""


@dataclass(frozen=True)
class LayerRow:
    """One node of the list.

    Attributes:
        position: in the order of the network, from 1.
        name: of the node.
        kind: what it is.
        weights: width of its weights; None without any.
        activations: widths of what it reads; empty for a residual sum.
        parameters: how many weights it has; None without any.
        macs: multiply-accumulates of an image; None where they are not known.
        decibels: SQNR after it; None where it was not measured.
    """

    position: int
    name: str
    kind: RowKind
    weights: int | None
    activations: tuple[int, ...]
    parameters: int | None
    macs: int | None
    decibels: float | None

    @property
    def share(self) -> float:
        """Length of its bar, in per cent."""
        return min(max((self.decibels or 0.0) / FULL_DB, 0.0), 1.0) * 100

    def cells(self) -> tuple[str, ...]:
        """Its values in the order of `COLUMNS`; empty where there is none."""
        decibels = "" if self.decibels is None else f"{self.decibels:.1f}"  # inf without an error
        numbers = (self.parameters, self.macs)
        return (
            str(self.position),
            self.name,
            self.kind,
            str(self.weights or ""),
            " ".join(map(str, self.activations)),
            *("" if number is None else str(number) for number in numbers),
            decibels,
        )


def layer_rows(export: Export) -> list[LayerRow]:
    """All layers and residual sums in the order of the network."""
    recipe, evidence = export.recipe, export.evidence
    macs = evidence.macs if evidence else {}
    errors = evidence.errors if evidence else {}
    widths = layers_of(recipe, macs)
    rows = []
    for position, name in enumerate(_merged(list(widths), list(errors)), start=1):
        weight, error = recipe.weights.get(name), errors.get(name)
        if error is not None and error.kind == "stream":
            kind: RowKind = "stream"
        else:
            kind = "product" if weight is None else "layer"
        rows.append(
            LayerRow(
                position,
                name,
                kind,
                weight.bits if weight else None,
                widths.get(name, ()),
                weight.codes.size if weight else None,
                macs.get(name),
                error.sqnr_db if error else None,
            )
        )
    return rows


def worst_first(rows: list[LayerRow]) -> list[LayerRow]:
    """By rising SQNR; what was not measured comes last, in the order of the network."""
    return sorted(rows, key=lambda row: math.inf if row.decibels is None else row.decibels)


def layers_csv(export: Export) -> str:
    """The list as CSV, in the order of the network, with `COLUMNS` in the first line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *(row.cells() for row in layer_rows(export))])
    return text.getvalue()


def _merged(first: list[str], second: list[str]) -> list[str]:
    """Names of two lists, each in its own order: what only the second has stands before what follows it there."""
    places = {name: number for number, name in enumerate(second)}
    found: dict[str, None] = {}
    done = 0
    for name in first:
        until = places.get(name, 0)
        found.update(dict.fromkeys(second[done:until]))
        done = max(done, until)
        found[name] = None
    return list(found | dict.fromkeys(second))
