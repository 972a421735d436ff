"""What the method brings to a portable form: min/max, `paper` and `best`, in the simulation of the exported file.

    python -m tools.bench.portable_methods MODEL --calib DIR --val DIR [--form qnn:8/8:16 ...] [--methods M ...]
        [--images 100] [--count 128] [--device D] [--json FILE]

A form is a target, widths and the width of the residual: qnn:8/8:16, qnn:4/16, openvino:8/8. The file itself gives what
the simulation gives, but for codes on a boundary. Rows come as they are measured; with --json those that FILE holds
already are not measured again.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from mptq_export.evaluate.metrics import agreement, divergences, mean_interval, share_interval, top_k
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX, PAPER, Method
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_text
from mptq_export.targets.rules import check_target
from tools.bench.labelled import labelled
from tools.options import Parser, existing, positive

METHODS: dict[str, Method] = {"min/max": MINMAX, "paper": PAPER, "best": BEST}
FORMS = ("qnn:8/8:8", "qnn:8/8:16", "qnn:4/16", "rknn:8/8", "openvino:8/8", "generic:8/8")
_BATCH = 8


@dataclass(frozen=True)
class Asked:
    """A form: `TARGET:W/A` or `TARGET:W/A:RESIDUAL`."""

    text: str
    target: str
    bits: tuple[int, int]
    residual: int | None

    @classmethod
    def of(cls, text: str) -> "Asked":
        """Read a form.

        Raises:
            MptqError: it is none, or the target does not take it.
        """
        target, _, rest = text.partition(":")
        widths, _, residual = rest.partition(":")
        if residual and not residual.isdigit():
            raise MptqError(f"--form {text} is not TARGET:W/A or TARGET:W/A:RESIDUAL")
        asked = cls(text, target, bits_from(widths, "--form"), int(residual) if residual else None)
        check_target(target, None, [asked.bits], asked.residual)
        if not isinstance(form_for(target, asked.residual), Portable):
            raise MptqError(f"--form {text}: {target} takes the exact form, which tools.bench.ablation measures")
        return asked


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.portable_methods", __doc__)
    parser.add_argument("model")
    parser.add_argument("--calib", type=existing, required=True)
    parser.add_argument("--val", type=existing, required=True, help="Class folders.")
    parser.add_argument("--form", dest="forms", nargs="+", default=FORMS, help=f"Default: {' '.join(FORMS)}.")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--images", type=positive, default=100, help="At most so many validation images.")
    parser.add_argument("--count", type=positive, default=128, help="Calibration images.")
    parser.add_argument("--device")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    model: str,
    calib: Path,
    val: Path,
    forms: Sequence[str],
    methods: Sequence[str],
    images: int,
    count: int,
    device: str | None,
    json_path: Path | None,
) -> None:
    asked = [Asked.of(text) for text in forms]
    calibrated = calibrate(load(model), calib, count=count, device=device)
    folder, labels = labelled(val, calibrated.loaded, images)
    about = {"model": Path(model).name, "calibration_images": len(calibrated.images), "images": len(labels)}
    rows = _known(json_path, about)
    floats = _logits(calibrated, folder, None)
    for form in asked:
        for name in methods:
            if any((row["form"], row["method"]) == (form.text, name) for row in rows):
                continue
            start = time.monotonic()
            found = _logits(calibrated, folder, (form, METHODS[name]))
            kl, same = divergences(floats, found), agreement(floats, found)
            rows.append(
                {
                    "form": form.text,
                    "method": name,
                    "kl": float(kl.mean()),
                    "kl_interval": mean_interval(kl),
                    "agreement": same,
                    "agreement_interval": share_interval(round(same * len(labels)), len(labels)),
                    "top1": top_k(found, labels, 1),
                    "float_top1": top_k(floats, labels, 1),
                    "seconds": time.monotonic() - start,
                }
            )
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            if json_path is not None:
                write_text(json_path, json.dumps({**about, "rows": rows}, indent=1) + "\n")
    table = Table("form", "method", "KL", "agreement", "top-1", "float", title=str(about["model"]))
    for row in rows:
        shares = (f"{row[key]:.1%}" for key in ("agreement", "top1", "float_top1"))
        table.add_row(row["form"], row["method"], f"{row['kl']:.5f}", *shares)
    Console().print(table)


def _known(path: Path | None, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows that were measured before, of the same model and as many images.

    Raises:
        MptqError: the file holds something else.
    """
    if path is None or not path.exists():
        return []
    held = json.loads(path.read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = held.pop("rows", [])
    if held != about:
        raise MptqError(f"--json {path} holds rows of {held}, not of {about}; name another file")
    return rows


def _logits(calibrated: Calibrated, folder: ImageFolder, asked: tuple[Asked, Method] | None) -> np.ndarray:
    """Logits of the float graph, or of the quantized one in a form."""
    device, simulator, graph = calibrated.images.device, None, calibrated.graph
    if asked is not None:
        form = form_for(asked[0].target, asked[0].residual)
        assert isinstance(form, Portable)
        bits = asked[0].bits
        source = CalibratedGraph(graph_for(form, graph, "float32"), calibrated.stats, calibrated.images)
        graph, recipe = build_recipe(source, lambda _layer: bits, asked[1], form=form)
        graph = graph.cast(torch.float32)
        simulator = PortableSimulator.of(form.sites(graph, lambda _layer: bits), recipe, device)
    found = []
    with torch.no_grad():
        for pixels in folder.batches(_BATCH):
            inputs = torch.from_numpy(calibrated.loaded.preprocessing.normalize(pixels)).to(device)
            logits = evaluate(graph, inputs) if simulator is None else simulator.logits(graph, inputs)
            found.append(logits.cpu().numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    sys.exit(main())
