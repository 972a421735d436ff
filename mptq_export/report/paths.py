"""Which files belong to one export."""

from pathlib import Path

from mptq_export.support.errors import MptqError

_RECIPE = ".recipe.json"
_SEARCH = ".search.json"


def report_path(onnx_path: Path) -> Path:
    """OUT.report.html."""
    return onnx_path.with_suffix(".report.html")


def evidence_path(onnx_path: Path) -> Path:
    """OUT.report.json."""
    return onnx_path.with_suffix(".report.json")


def search_paths(onnx_path: Path, budget: str) -> tuple[Path, ...]:
    """Where the search of an export may lie, the first choice first: NAME.search.json, or that without the budget.

    Args:
        onnx_path: NAME.onnx.
        budget: that the file is of, as part of a name.
    """
    stem = onnx_path.with_suffix("").name
    names = dict.fromkeys((stem, stem.removesuffix(f".{budget}")))
    return tuple(onnx_path.with_name(f"{name}{_SEARCH}") for name in names)


def searched_path(search: Path) -> Path:
    """NAME.onnx of NAME.search.json, or of the journal NAME.search.jsonl; it need not exist."""
    stem = search.with_suffix("")
    return stem.with_suffix(".onnx") if stem.suffix == ".search" else search.with_suffix(".onnx")


def csv_path(onnx_path: Path) -> Path:
    """OUT.layers.csv."""
    return onnx_path.with_suffix(".layers.csv")


def comparison_path(first: Path, second: Path) -> Path:
    """A-vs-B.report.html beside the first of two ONNX files."""
    return first.with_name(f"{first.with_suffix('').name}-vs-{second.with_suffix('').name}.report.html")


def onnx_path_of(named: Path) -> Path:
    """The ONNX file of an export from the name of that file or of its recipe; it need not exist.

    Raises:
        MptqError: it is neither.
    """
    if named.name.endswith(_RECIPE):
        return named.with_name(named.name.removesuffix(_RECIPE) + ".onnx")
    if named.suffix == ".onnx":
        return named
    raise MptqError(f"{named} is neither an .onnx file nor a {_RECIPE}; name one of an export")
