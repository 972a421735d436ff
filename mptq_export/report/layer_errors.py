"""The error after each layer: a curve along the network, and the nodes from the worst."""

from dataclasses import dataclass

from markupsafe import Markup

from mptq_export.report.charts import error_chart
from mptq_export.report.evidence import ErrorKind, Evidence


@dataclass(frozen=True)
class ErrorRow:
    """One node of the list.

    Attributes:
        name: of the node.
        decibels: SQNR; the fewer, the worse.
    """

    name: str
    decibels: float


def error_rows(evidence: Evidence) -> list[ErrorRow]:
    """All nodes, worst first."""
    rows = [ErrorRow(name, error.sqnr_db) for name, error in evidence.errors.items()]
    return sorted(rows, key=lambda row: row.decibels)


def error_plot(evidences: list[tuple[str, Evidence]]) -> Markup:
    """SQNR along the network: layers and streams of one export, or the layers of several.

    Args:
        evidences: name and measurements; nodes are those of all of them, in order.
    """
    names = list(dict.fromkeys(name for _, evidence in evidences for name in evidence.errors))
    kinds: tuple[ErrorKind, ...] = ("layer", "stream") if len(evidences) == 1 else ("layer",)
    curves = [
        (
            {"layer": "after a layer", "stream": "residual stream"}[kind] if len(evidences) == 1 else label,
            [e.sqnr_db if (e := evidence.errors.get(name)) is not None and e.kind == kind else None for name in names],
        )
        for label, evidence in evidences
        for kind in kinds
    ]
    return error_chart(curves, names)
