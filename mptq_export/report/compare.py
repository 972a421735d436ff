"""Two exports side by side, from what their files tell."""

from collections.abc import Callable
from dataclasses import dataclass

from mptq_export.report.charts import front_chart
from mptq_export.report.decisions import global_decisions, read_decisions
from mptq_export.report.export_files import Export
from mptq_export.report.figures import figures_of
from mptq_export.report.layer_errors import error_plot
from mptq_export.report.network import layers_of
from mptq_export.report.page import kernel_counts, render
from mptq_export.report.promise import output_words
from mptq_export.report.reproduce import hashes_of, versions_of


@dataclass(frozen=True)
class Pair:
    """One row: a name and what both exports have there; empty where one has nothing."""

    name: str
    first: str
    second: str

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.first != self.second


def compare_page(exports: tuple[Export, Export]) -> str:
    """The comparison as HTML."""
    labels = labels_of(exports)
    figures = [figures_of(export) for export in exports]
    measured = [
        (label, e.evidence) for label, e in zip(labels, exports, strict=True) if e.evidence and e.evidence.errors
    ]
    fronts = [(label, e.front) for label, e in zip(labels, exports, strict=True) if e.front]
    if len(fronts) == len(exports) and fronts[0][1].steps == fronts[1][1].steps:
        fronts = fronts[:1]  # two files of one search
    return render(
        "compare.html",
        labels=labels,
        exports=exports,
        figures=list(zip(*figures, strict=True)),
        bits=pairs(exports, _widths),
        front_plot=front_chart(fronts) if fronts else None,
        searches=len(fronts),
        error_plot=error_plot(measured) if measured else None,
        errors=pairs(exports, _decibels) if measured else [],
        decisions=pairs(exports, _decisions),
        kernels=pairs(exports, lambda e: {op: str(count) for op, _, count in kernel_counts(e.kernels or ())}),
        runs=pairs(exports, _runs),
        versions=pairs(exports, versions_of),
        hashes=pairs(exports, _hashes),
    )


def labels_of(exports: tuple[Export, Export]) -> tuple[str, str]:
    """File names, with their folders where they are the same."""
    first, second = exports
    if first.name != second.name:
        return first.name, second.name
    return str(first.onnx), str(second.onnx)


def pairs(exports: tuple[Export, Export], read: Callable[[Export], dict[str, str]]) -> list[Pair]:
    """What both have under each name, in the order of the first, then of the second."""
    first, second = (read(export) for export in exports)
    return [Pair(name, first.get(name, ""), second.get(name, "")) for name in dict.fromkeys([*first, *second])]


def _widths(export: Export) -> dict[str, str]:
    weights = export.recipe.weights
    layers = layers_of(export.recipe, export.evidence.macs if export.evidence else {})
    return {
        layer: f"{weights[layer].bits if layer in weights else '-'}/{','.join(map(str, widths))}"
        for layer, widths in layers.items()
    }


def _runs(export: Export) -> dict[str, str]:
    return {run.runtime: "; ".join([run.verdict, run.where, *output_words(run)]) for run in export.runs}


def _decisions(export: Export) -> dict[str, str]:
    decisions = [*global_decisions(export.recipe), *read_decisions(export.evidence)]
    return {each.what: f"{each.choice} ({each.reason})" for each in decisions}


def _decibels(export: Export) -> dict[str, str]:
    errors = export.evidence.errors if export.evidence else {}
    return {name: f"{error.sqnr_db:.1f}" for name, error in errors.items()}


def _hashes(export: Export) -> dict[str, str]:
    """Under names that both exports have."""
    stem = export.onnx.with_suffix("").name
    return {name.replace(stem, "OUT", 1) if name.startswith(stem) else name: h for name, h in hashes_of(export).items()}
