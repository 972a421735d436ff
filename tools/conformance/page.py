"""The results as a page: a part for each library."""

from collections.abc import Iterator, Sequence

from tools.conformance.libraries import LIBRARIES
from tools.conformance.row import EXACT, STATUSES, Row

_START = """# Models

Models of each library with random weights, exported and compared with `kernels_ref`, every tensor. Made by

    python -m tools.conformance docs/models.jsonl --library LIBRARY --table docs/models.md

`docs/models.jsonl` has a line for each: image size, parameters, values compared, seconds.
"""


def markdown(rows: Sequence[Row]) -> str:
    """The page: timm by family, other libraries a line a model."""
    parts = [_START]
    for library, about in LIBRARIES.items():
        found = [row for row in rows if row.library == library]
        if not found:
            continue
        counts = ", ".join(f"{sum(row.status == s for row in found)} {s}" for s in STATUSES)
        tried = f"{len(found)} of {len(about.names())} have been tried: {counts}."
        parts += [f"## {library}", "", f"{about.said[0].upper()}{about.said[1:]}. {tried}", ""]
        parts += _by_family(found) if library == "timm" else _by_model(found)
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _by_model(rows: Sequence[Row]) -> Iterator[str]:
    yield "| model | result | image | parameters | size |"
    yield "|---|---|---|---|---|"
    for row in rows:
        result = f"{row.status}: {row.detail}".replace("|", "\\|")
        yield f"| `{row.arch}` | {result} | {row.image} | {row.parameters:,} | {row.reduced or 'whole'} |"


def _by_family(rows: Sequence[Row]) -> Iterator[str]:
    yield "| family (timm module) | exact | refused | failed | too large to try |"
    yield "|---|---|---|---|---|"
    for family in sorted({row.family for row in rows}):
        counts = [sum(row.family == family and row.status == status for row in rows) for status in STATUSES]
        yield f"| {family} | " + " | ".join(str(count or "") for count in counts) + " |"
    totals = [sum(row.status == status for row in rows) for status in STATUSES]
    yield "| **all** | " + " | ".join(f"**{count}**" for count in totals) + " |"
    for status in STATUSES:
        found = sorted((row for row in rows if row.status == status), key=lambda row: (row.family, row.arch))
        if found:
            yield from ("", f"### {status.capitalize()}", "")
            yield from (_names(found) if status == EXACT else (f"- `{row.arch}`: {row.detail}" for row in found))


def _names(rows: Sequence[Row]) -> Iterator[str]:
    for family in dict.fromkeys(row.family for row in rows):
        names = ", ".join(f"`{row.arch}`" for row in rows if row.family == family)
        yield f"- **{family}**: {names}"
