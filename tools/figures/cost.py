"""How large is a file, how quickly does it load, and what did the export take? Of the files of `accuracy`."""

from tools.figures.deployed import name_of
from tools.figures.show import markdown_table
from tools.figures.table import Document


def markdown(accuracy: Document) -> str:
    """A row a file."""
    head = (
        "model",
        "bits",
        "`--method`",
        "bytes",
        "of the float32 weights",
        "load",
        "onnxruntime from",
        "export",
        "peak memory",
    )
    return markdown_table(
        head,
        [
            (
                *name_of(row),
                f"{row['bytes']:,}",
                f"{row['bytes'] / row['float32_bytes']:.3f}",
                f"{row['load_ms']:.0f} ms",
                row["min_onnxruntime"],
                f"{row['seconds']:.0f} s",
                f"{row['peak_mb'] / 1e3:.2f} GB",
            )
            for row in accuracy.rows
        ],
    )
