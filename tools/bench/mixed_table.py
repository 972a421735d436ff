"""Mixed files beside uniform ones on the same images: top-1, divergence from the float model, and its ratios.

    python tools/bench/mixed_table.py CHECKPOINT --data DIR --uniform U5.onnx --uniform U4.onnx M.5.onnx M.4.onnx ...

A ratio is the mean divergence of a file over that of a uniform one. In brackets, what other images would give: the same
images are drawn for both (paired bootstrap), so that what an undecided image adds to both files cancels.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from mptq_export.data.images import ImageFolder
from mptq_export.evaluate.float_model import float_predictor
from mptq_export.evaluate.metrics import divergences, ratio_interval, top_k
from mptq_export.evaluate.run import onnx_predictor
from mptq_export.load.model import load_model
from mptq_export.verify.session import open_session


@click.command(help=__doc__)
@click.argument("checkpoint")
@click.argument("mixed", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Class folders.")
@click.option("--uniform", multiple=True, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--limit", type=click.IntRange(1), help="At most so many images.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    checkpoint: str,
    mixed: tuple[Path, ...],
    data: Path,
    uniform: tuple[Path, ...],
    limit: int | None,
    json_path: Path | None,
) -> None:
    loaded = load_model(checkpoint)
    normalize = loaded.preprocessing.normalize
    folder = ImageFolder(data, loaded.preprocessing, limit=limit, labels=True)
    labels = folder.labels
    assert labels is not None
    predictors = {path: onnx_predictor(open_session(path), normalize) for path in (*uniform, *mixed)}
    exact, found = [], {path: [] for path in predictors}
    floating = float_predictor(loaded.model, normalize)
    for pixels in folder.batches(8):
        exact.append(floating(pixels))
        for path, predict in predictors.items():
            found[path].append(predict(pixels))
    floats = np.concatenate(exact)
    logits = {path: np.concatenate(parts) for path, parts in found.items()}
    diverges = {path: divergences(floats, each) for path, each in logits.items()}
    rows: list[dict[str, Any]] = [{"file": "float", "top1": top_k(floats, labels, 1)}]
    for path, each in diverges.items():
        ratios = {
            str(base): (float(each.mean() / diverges[base].mean()), *ratio_interval(each, diverges[base]))
            for base in uniform
        }
        rows.append(
            {"file": str(path), "top1": top_k(logits[path], labels, 1), "kl": float(each.mean()), "over": ratios}
        )
    table = Table("file", "top-1", "KL", *(f"over {base.name}" for base in uniform), title=Path(checkpoint).name)
    for row in rows:
        over = (f"{mid:.2f} ({low:.2f}-{high:.2f})" for mid, low, high in row.get("over", {}).values())
        table.add_row(Path(row["file"]).name, f"{row['top1']:.1%}", f"{row['kl']:.4f}" if "kl" in row else "", *over)
    Console(width=120).print(table)
    if json_path:
        json_path.write_text(json.dumps({"model": Path(checkpoint).name, "images": len(labels), "rows": rows}) + "\n")


if __name__ == "__main__":
    main()
