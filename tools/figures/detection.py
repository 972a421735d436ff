"""Tables of whole detectors, from the JSON of `tools.bench.detection` and `tools.bench.detection_latency`."""

from collections.abc import Iterator
from typing import Any

from tools.figures.show import interval, markdown_table
from tools.figures.table import Document, Figures

Keyed = Iterator[tuple[str, Figures]]

#: The row that every other one is compared with.
_FLOAT = "float"


def accuracy_rows(content: Any) -> Keyed:
    """`tools.bench.detection`: a row a file, or a set of the files of one detector."""
    known = {key: content[key] for key in ("model", "images", "calibration_images")}
    for row in content["rows"]:
        yield f"{content['model']} {row['row']}", {**known, **row}


def accuracy_markdown(document: Document) -> str:
    """Box and mask AP with what each file lost of float's, bytes, and what proves the file."""
    floats = {row["model"]: row for row in document.rows if row["row"] == _FLOAT}
    masks = any(row["mask"] is not None for row in document.rows)
    kinds = ("box", "mask") if masks else ("box",)
    heads = [head for kind in kinds for head in (f"{kind} AP", "lost", "AP50", "AP75")]
    rows = []
    for row in document.rows:
        cells = [cell for kind in kinds for cell in _ap_cells(row, floats.get(row["model"]), kind)]
        size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.2f}"
        differing = "" if row["values"] is None else f"{row['differing']} of {row['values']:,}"
        seconds = "" if row["export_seconds"] is None else f"{row['export_seconds']:.0f} s"
        rows.append((row["model"], row["row"], str(row["images"]), *cells, size, differing, seconds))
    return markdown_table(("detector", "bits", "images", *heads, "MB", "values that differ", "export"), rows)


def _ap_cells(row: Figures, floating: Figures | None, kind: str) -> tuple[str, ...]:
    found = row[kind]
    if found is None:
        return ("",) * 4
    beside = None if floating is None or row["row"] == _FLOAT else floating[kind]
    lost = "" if beside is None else f"{beside['ap'] - found['ap']:.2f}"
    return (f"{found['ap']:.2f}", lost, f"{found['ap50']:.2f}", f"{found['ap75']:.2f}")


def latency_rows(content: Any) -> Keyed:
    """`tools.bench.detection_latency`: a row a part and number of threads."""
    known = {key: content[key] for key in ("model", "bits", "images")}
    for row in content["rows"]:
        yield f"{content['model']} {content['bits']} {row['threads']} {row['part']}", {**known, **row}


def latency_markdown(document: Document) -> str:
    """Median time of a part, float and ours, and the median of the ratios of each picture, with its quartiles."""
    rows = []
    for row in document.rows:
        ratio = row["over_float"]
        spread = f"{ratio['median']:.2f} ({interval((ratio['low'], ratio['high']), 1, '.2f')})"
        times = (f"{row['float_ms']['median']:.2f}", f"{row['ours_ms']['median']:.2f}")
        rows.append((row["model"], row["bits"], str(row["threads"]), row["part"], *times, spread))
    return markdown_table(
        ("detector", "bits", "threads", "part", "float, ms", "ours, ms", "ours over float (quartiles)"), rows
    )
