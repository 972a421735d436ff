"""The results as a page."""

from collections.abc import Mapping, Sequence

from tools.doors.kind import Kind
from tools.doors.result import GOOD, Result

_HEAD = ("kind", "library and version", "result", "max float difference", "differing values")

_START = """# What can be read

Kinds of files and sources, each written by the library that writes it (a small model with random weights), read with
what stands in [From your checkpoint to a file](checkpoints.md), and compared: the float outputs of the loaded model
with the original's on the same images, then an export at 8/8 (8 synthetic images, `--method paper`) in onnxruntime
with `kernels_ref`, every tensor, at batches of one and three. Kinds that have to be refused are refused in one line
that says what to do, with exit status 2, and leave nothing behind. Made by

    python -m tools.doors --results docs/doors.jsonl --table docs/doors.md

The float difference is the largest of all outputs, by the largest output where that is above 1. `docs/doors.jsonl` has
a line for each kind.
"""


def markdown(groups: Mapping[str, Sequence[Kind]], results: Mapping[str, Result]) -> str:
    """A table a group, and how many there are of each result."""
    rows = [results[kind.name] for kinds in groups.values() for kind in kinds if kind.name in results]
    parts = [_START, summary(rows, sum(map(len, groups.values())))]
    for group, kinds in groups.items():
        found = [results[kind.name] for kind in kinds if kind.name in results]
        if found:
            parts += [f"\n## {group}\n", "\n".join(map(_line, (_HEAD, ["---"] * len(_HEAD), *map(cells, found))))]
    return "\n".join(parts) + "\n"


def summary(rows: Sequence[Result], kinds: int) -> str:
    """How many kinds were tried, with which results."""
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(r.status for r in rows)}
    wrong = sum(row.status == "read wrongly" for row in rows)
    said = ", ".join(f"{count} {'export' if status == 'exports' else status}" for status, count in counts.items())
    differing = sum(row.differing for row in rows)
    return f"{len(rows)} of {kinds} kinds were tried: {said}; {wrong} read wrongly; {differing} values differ."


def cells(row: Result) -> tuple[str, ...]:
    """What stands in a row."""
    versions = ", ".join(f"{name} {found}" for name, found in row.versions.items())
    result = row.status if row.status == "exports" else f"{row.status}: {row.detail}"
    if row.status not in GOOD:
        result = f"**{row.status}**: {row.detail}"
    difference = "" if row.float_difference is None else f"{row.float_difference:.1e}"
    values = f"{row.differing:,} of {row.values:,}" if row.values else ""
    return row.kind, versions, result, difference, values


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
