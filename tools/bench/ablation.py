"""What every technique brings: top-1, agreement with the float model and KL divergence of its logits.

    python -m tools.bench.ablation MODEL --calib DIR --val DIR [--bits 4/4 --bits 3/3] [--images 1000] [--json FILE]

For every width: plain min/max, then one technique more a row, up to `best`; then `best` with each one left out, and the
paper's pair alone. Measured in torch with the simulation of the exported file (same codes but for ties of rounding).
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mptq_export.api import Calibrated, calibrate, load
from mptq_export.capture.evaluate import evaluate
from mptq_export.cli.values import bits_from
from mptq_export.data.images import ImageFolder
from mptq_export.evaluate.metrics import agreement, mean_kl, top_k
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX, PAPER, Method
from mptq_export.quantize.simulation.simulate import Simulator
from tools.bench.labelled import labelled
from tools.options import Parser, Repeated, existing, positive

#: In the order in which they are added.
TECHNIQUES: dict[str, dict[str, Any]] = {
    "SQ-b": {"sq_b": BEST.sq_b},
    "OPT-m": {"opt_m": True},
    "balanced attention": {"balanced_attention": True},
    "ranges by error": {"ranges_by_error": True},
    "weight scales by error": {"weight_scales_by_error": True},
    "bias correction": {"bias_correction": True},
    "compensated rounding": {"gptq": True},
    "ridge correction": {"ridge_correction": True},
    "residual correction": {"residual_correction": True},
    "row importance": {"row_importance": True},
}
OFF = asdict(MINMAX)


def cumulative() -> Iterator[tuple[str, Method]]:
    method = MINMAX
    yield "min/max", method
    for name, switches in TECHNIQUES.items():
        method = replace(method, **switches)
        yield f"+ {name}", method


def left_out() -> Iterator[tuple[str, Method]]:
    for name, switches in TECHNIQUES.items():
        yield f"best without {name}", replace(BEST, **{key: OFF[key] for key in switches})


def others() -> Iterator[tuple[str, Method]]:
    yield "paper (SQ-b + OPT-m as published)", PAPER
    yield "best, SQ-b by min/max", replace(BEST, sq_b="range")


PARTS = {"cumulative": cumulative, "left-out": left_out, "others": others}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.ablation", __doc__)
    parser.add_argument("model")
    parser.add_argument("--calib", type=existing, required=True)
    parser.add_argument("--val", type=existing, required=True, help="Class folders.")
    parser.add_argument("--bits", dest="widths", action=Repeated, default=("4/4",), metavar="W/A", help="Default: 4/4.")
    parser.add_argument(
        "--part", dest="parts", action=Repeated, default=tuple(PARTS), choices=list(PARTS), help="Default: all."
    )
    parser.add_argument("--images", type=positive, default=1000, help="At most so many validation images.")
    parser.add_argument("--count", type=positive, default=128, help="Calibration images.")
    parser.add_argument("--device")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    model: str,
    calib: Path,
    val: Path,
    widths: tuple[str, ...],
    parts: tuple[str, ...],
    images: int,
    count: int,
    device: str | None,
    json_path: Path | None,
) -> None:
    calibrated = calibrate(load(model), calib, count=count, device=device)
    loaded = calibrated.loaded
    folder, labels = labelled(val, loaded, images)
    floats = logits(calibrated, folder, None)
    console = Console()
    console.print(f"{model}: float top-1 {100 * top_k(floats, labels, 1):.1f} on {len(labels)} images")
    results = []
    for width in widths:
        bits = bits_from(width)
        table = Table("method", "top-1", "agreement", "KL", title=f"{Path(model).name}, {width}")
        for part in parts:
            for name, method in PARTS[part]():
                found = quantized_logits(calibrated, folder, bits, method)
                row: dict[str, Any] = {"bits": width, "method": name, "top1": top_k(found, labels, 1)}
                row |= {"agreement": agreement(floats, found), "kl": mean_kl(floats, found)}
                results.append(row)
                table.add_row(name, f"{100 * row['top1']:.1f}", f"{100 * row['agreement']:.1f}", f"{row['kl']:.4f}")
                print(json.dumps(row), file=sys.stderr)
                if json_path:
                    report = {"model": Path(model).name, "images": len(labels), "rows": results}
                    json_path.write_text(json.dumps(report, indent=1) + "\n")
        console.print(table)


def quantized_logits(calibrated: Calibrated, folder: ImageFolder, bits: tuple[int, int], method: Method) -> np.ndarray:
    """Logits of the model at one uniform width."""
    source = CalibratedGraph(calibrated.graph, calibrated.stats, calibrated.images)
    graph, recipe = build_recipe(source, lambda _layer: bits, method)
    simulator = Simulator.of(graph, recipe, calibrated.images.device)
    return logits(replace(calibrated, graph=graph), folder, simulator)


def logits(calibrated: Calibrated, folder: ImageFolder, simulator: Simulator | None) -> np.ndarray:
    """Logits of the float graph, or of the quantized one."""
    found = []
    with torch.no_grad():
        for pixels in folder.batches(25):
            inputs = torch.from_numpy(calibrated.loaded.preprocessing.normalize(pixels)).to(calibrated.images.device)
            compute = simulator.compute if simulator else None
            found.append(evaluate(calibrated.graph, inputs, compute_node=compute).cpu().numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    sys.exit(main())
