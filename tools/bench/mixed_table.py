"""Mixed files beside uniform ones on the same images: top-1, divergence from the float model, and how they compare.

    python -m tools.bench.mixed_table CHECKPOINT --data DIR --uniform U5.onnx --uniform U4.onnx M.5.onnx M.4.onnx ...

Two rows a file: the mean divergence over that of each uniform file, and the difference of top-1 in points. In brackets,
what other images would give: the same images are drawn for both (paired bootstrap), so that what an undecided image
adds to both files cancels.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mptq_export.evaluate.float_model import float_predictor
from mptq_export.evaluate.logits import onnx_predictor, predictions
from mptq_export.evaluate.metrics import divergences, in_top_k, mean_interval, ratio_interval
from mptq_export.load.loaders import load_model
from mptq_export.runtime.session import open_session
from tools.bench.labelled import labelled
from tools.options import Parser, Repeated, existing, positive


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.mixed_table", __doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("mixed", nargs="+", type=existing)
    parser.add_argument("--data", type=existing, required=True, help="Class folders.")
    parser.add_argument("--uniform", action=Repeated, default=(), required=True, type=existing)
    parser.add_argument("--limit", type=positive, help="At most so many images.")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    checkpoint: str,
    mixed: Sequence[Path],
    data: Path,
    uniform: tuple[Path, ...],
    limit: int | None,
    json_path: Path | None,
) -> None:
    loaded = load_model(checkpoint)
    normalize = loaded.preprocessing.normalize
    folder, labels = labelled(data, loaded, limit)
    files = tuple(dict.fromkeys((*uniform, *mixed)))
    models = [onnx_predictor(open_session(path), normalize) for path in files]
    floats, *logits = predictions(folder.batches(8), [float_predictor(loaded.model, normalize), *models])
    diverges = {path: divergences(floats, each) for path, each in zip(files, logits, strict=True)}
    right = {path: in_top_k(each, labels, 1).astype(float) for path, each in zip(files, logits, strict=True)}
    rows: list[dict[str, Any]] = [{"file": "float", "top1": float(in_top_k(floats, labels, 1).mean())}]
    for path in files:
        over = {
            str(base): (
                float(diverges[path].mean() / diverges[base].mean()),
                *ratio_interval(diverges[path], diverges[base]),
            )
            for base in uniform
        }
        gains = {base: right[path] - right[base] for base in uniform}
        above = {str(base): (float(gain.mean()), *mean_interval(gain)) for base, gain in gains.items()}
        shared = {"top1": float(right[path].mean()), "kl": float(diverges[path].mean())}
        rows.append({"file": str(path), **shared, "kl_over": over, "top1_above": above})
    table = Table("file", "top-1", "KL", *(f"beside {base.name}" for base in uniform), title=Path(checkpoint).name)
    table.add_row("float", f"{rows[0]['top1']:.1%}")
    for row in rows[1:]:
        beside = (
            f"{ratio:.2f} ({low:.2f} to {high:.2f})\n{100 * gain:+.1f} ({100 * less:+.1f} to {100 * more:+.1f})"
            for (ratio, low, high), (gain, less, more) in zip(
                row["kl_over"].values(), row["top1_above"].values(), strict=True
            )
        )
        table.add_row(Path(row["file"]).name, f"{row['top1']:.1%}", f"{row['kl']:.4f}", *beside)
    Console(width=120).print(table)
    if json_path:
        json_path.write_text(json.dumps({"model": Path(checkpoint).name, "images": len(labels), "rows": rows}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
