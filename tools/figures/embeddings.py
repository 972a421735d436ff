"""How close is an exported encoder to its float model: direction and nearest neighbours, no classes needed?"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tools.figures.bench import Bench
from tools.figures.encoders import ENCODERS, Encoder
from tools.figures.models import Model
from tools.figures.show import interval, markdown_table, percent
from tools.figures.table import Document, Figures, Row, Table

WIDTHS = ("8/8", "6/6", "4/4")


def rows(models: Sequence[Model]) -> list[Row]:
    """One for every encoder and width."""
    bases = {model.key: model for model in models}
    return [
        Row(
            f"{encoder.key} {bits}",
            encoder.base,
            partial(_measured, base=bases[encoder.base], encoder=encoder, bits=bits),
        )
        for encoder in ENCODERS
        if encoder.base in bases
        for bits in WIDTHS
    ]


def _measured(bench: Bench, base: Model, encoder: Encoder, bits: str) -> Figures:
    made = bench.once(f"{encoder.key}/source", lambda path: {"source": str(_written(base, encoder, path.parent))})
    model = Model(encoder.key, encoder.title, Path(made["source"]), base.calib, base.val)
    exported = bench.export(model, bits, options=encoder.options)
    report = exported.path.with_suffix(".eval.json")
    given = (exported.path, "--data", base.val, "--float", model.checkpoint, "--json", report)
    bench.commands.console("eval", *given, log=f"{exported.path.stem}.eval")
    found = json.loads(report.read_text(encoding="utf-8"))
    return {
        "model": base.key,
        "encoder": encoder.title,
        "bits": bits,
        "images": found["images"],
        "bytes": exported.facts["bytes"],
        "float32_bytes": exported.facts["float32_bytes"],
        "seconds": exported.facts["seconds"],
        **embedding_of(found),
    }


def _written(base: Model, encoder: Encoder, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return encoder.write(base.checkpoint, folder)


def embedding_of(found: dict[str, Any]) -> Figures:
    """What `mptq-eval --json` says of the file's one embedding."""
    (embedding,) = (output for output in found["outputs"] if output["kind"] == "embedding")
    beside = embedding["beside_float"]
    near = beside["neighbours"]
    return {
        "output": embedding["output"],
        "cosine": beside["cosine"],
        "lowest_cosine": beside["lowest_cosine"],
        "nearest": near["nearest"],
        "nearest_interval": near["nearest_interval"],
        "ten": near["ten"],
        "ten_interval": near["ten_interval"],
        "knn": embedding["quantised"]["ten"],
        "float_knn": embedding["floating"]["ten"],
    }


def markdown(document: Document) -> str:
    """A row a file."""
    head = ("encoder", "bits", "MB", "cosine", "lowest", "nearest kept", "ten nearest kept", "10-NN accuracy", "float")
    return markdown_table(head, [_cells(row) for row in document.rows])


def _cells(row: Figures) -> tuple[str, ...]:
    return (
        row["encoder"],
        row["bits"],
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['cosine']:.5f}",
        f"{row['lowest_cosine']:.4f}",
        f"{percent(row['nearest'])} ({interval(row['nearest_interval'], 100, '.1f')})",
        f"{percent(row['ten'])} ({interval(row['ten_interval'], 100, '.1f')})",
        percent(row["knn"]),
        percent(row["float_knn"]),
    )


TABLE = Table("embeddings", rows, markdown)
