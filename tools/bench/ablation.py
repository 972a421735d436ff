"""What every technique brings: top-1, agreement with the float model and KL divergence of its logits.

    python tools/bench/ablation.py MODEL --calib DIR --val DIR [--bits 4/4 --bits 3/3] [--images 1000] [--json FILE]

For every width: plain min/max, then one technique more a row, up to `best`; then `best` with each one left out, and the
paper's pair alone. Measured in torch with the simulation of the exported file (same codes but for ties of rounding).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mptq_export.api import Calibrated, calibrate, load
from mptq_export.capture.evaluate import evaluate
from mptq_export.cli.export import bits_from
from mptq_export.data.images import ImageFolder
from mptq_export.evaluate.metrics import agreement, mean_kl, top_k
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX, PAPER, Method
from mptq_export.quantize.simulation.simulate import Simulator

#: In the order in which they are added.
TECHNIQUES = {
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


@click.command(help=__doc__)
@click.argument("model")
@click.option("--calib", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--val", type=click.Path(path_type=Path, exists=True), required=True, help="Class folders.")
@click.option("--bits", "widths", multiple=True, default=("4/4",), show_default=True)
@click.option("--part", "parts", type=click.Choice(list(PARTS)), multiple=True, default=tuple(PARTS))
@click.option("--images", default=1000, show_default=True, help="At most so many validation images.")
@click.option("--count", default=128, show_default=True, help="Calibration images.")
@click.option("--device")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
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
    folder = ImageFolder(val, loaded.preprocessing, limit=images, labels=True, logits=loaded.model.num_classes)
    labels = folder.labels
    assert labels is not None
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
                row = {"bits": width, "method": name, "top1": top_k(found, labels, 1)}
                row |= {"agreement": agreement(floats, found), "kl": mean_kl(floats, found)}
                results.append(row)
                table.add_row(name, f"{100 * row['top1']:.1f}", f"{100 * row['agreement']:.1f}", f"{row['kl']:.4f}")
                click.echo(json.dumps(row), err=True)
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
    main()
