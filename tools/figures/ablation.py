"""What every technique brings below four bits, from the JSON of `tools.bench.ablation`."""

from collections.abc import Iterator
from typing import Any

from tools.figures.show import interval, markdown_table, percent
from tools.figures.table import Document, Figures


def read(content: Any) -> Iterator[tuple[str, Figures]]:
    """A row a method and widths."""
    known = {key: content[key] for key in ("model", "calibration_images")}
    for row in content["rows"]:
        yield f"{content['model']} {row['widths']} {row['method']}", {**known, **row}


def markdown(document: Document) -> str:
    """The figures of a method, and its divergence above that of the row that it is compared with."""
    head = (
        "model", "bits", "method", "top-1", "agreement", "KL, nats", "beside", "KL above it", "the technique",
    )  # fmt: skip
    return markdown_table(head, map(_cells, document.rows))


def _cells(row: Figures) -> tuple[str, ...]:
    shares = (percent(row["top1"]), percent(row["agreement"]))
    kl = f"{row['kl']:.4f} ({interval(row['kl_interval'], 1, '.4f')})"
    name = (row["model"].removesuffix(".pt"), row["widths"], row["method"])
    if row["kl_above"] is None:
        return *name, *shares, kl, "", "", ""
    more, *bounds = row["kl_above"]
    return *name, *shares, kl, row["beside"], f"{more:+.4f} ({interval(bounds, 1, '+.4f')})", _verdict(row)


def _verdict(row: Figures) -> str:
    """Whether the technique that the row has or lacks helps, as far as these images can say."""
    _more, low, high = row["kl_above"]
    left_out = row["method"].startswith("best without ")
    added = row["method"].startswith(("+ ", "best with ", "best, then ")) or row["method"] == "best"
    if not (left_out or added):
        return ""
    if low <= 0 <= high:
        return "cannot be told"
    return "helps" if (low > 0) == left_out else "harms"
