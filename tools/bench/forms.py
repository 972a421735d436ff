"""Several files of one model beside each other in a runtime: latency in turn, and how close each is to the float model.

What `openvino_forms.py` and `onnxruntime_forms.py` share.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mptq_export.bench.interleave import Quartiles, interleave
from mptq_export.bench.show import spread
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.cli.terminal import Terminal
from mptq_export.data.calibration import open_calibration
from mptq_export.emit.float_onnx import write_float_onnx
from mptq_export.evaluate.metrics import Labels, agreement, mean_kl, top_k
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.loaders import load_model
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.settings import MethodName
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import tracked
from tools.bench.labelled import labelled
from tools.bench.peer import Predict
from tools.options import Parser, Repeated, existing, positive

WIDTH = 160
"""Columns of the tables, whatever the terminal has."""

Open = Callable[[int], Predict]
"""Number of threads in, the file ready to run out."""


@dataclass(frozen=True)
class Form:
    """A file in a runtime.

    Attributes:
        name: what the tables call it.
        open: loads it.
        facts: what else is known of it: plain JSON values.
    """

    name: str
    open: Open
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """A checkpoint and the images that it is measured on.

    Attributes:
        checkpoint: its path.
        calib: folder of calibration images.
        count: how many of them.
        folder: where files go; what lies there is not made again.
        images: (images, 3, height, width) float32 inputs that calibration has not seen.
        labels: (images,) the class of each.
    """

    checkpoint: Path
    calib: Path
    count: int
    folder: Path
    images: np.ndarray
    labels: Labels

    @property
    def floating(self) -> Path:
        """The float ONNX file."""
        return self.folder / "float.onnx"

    @property
    def inputs(self) -> Path:
        """Calibration inputs, as an array file."""
        return self.folder / "calib.npy"

    def exported(self, target: str, method: MethodName) -> Path:
        """Our 8/8 file for a target."""
        path = self.folder / f"{target}.{method}.onnx"
        if not path.exists():
            calibration = CalibrationRequest(self.calib, self.count)
            asked = ExportRequest(
                ModelRequest(str(self.checkpoint)), Uniform(method=method), Outputs(path, target=target), calibration
            )
            export_model(asked, Terminal())
        return path


def add_options(parser: Parser) -> None:
    """The options of both tools."""
    parser.add_argument("checkpoint", type=existing)
    parser.add_argument("--calib", type=existing, required=True, help="Calibration images.")
    parser.add_argument("--val", type=existing, required=True, help="Validation images in class folders.")
    parser.add_argument("--keep", type=Path, required=True, metavar="DIR", help="Files go there, and are made once.")
    parser.add_argument("--count", type=positive, default=64, help="Calibration images.")
    parser.add_argument("--images", type=positive, default=200, help="Validation images.")
    parser.add_argument("--methods", nargs="+", choices=("best", "paper"), default=["best"])
    parser.add_argument("--threads", action=Repeated, type=positive, default=(1, 2))
    parser.add_argument("--rounds", type=positive, default=40)
    parser.add_argument(
        "--accuracy", action=argparse.BooleanOptionalAction, default=True, help="Whether images are evaluated."
    )
    parser.add_json()


def open_model(checkpoint: Path, calib: Path, val: Path, keep: Path, *, count: int, images: int) -> Model:
    """Read a checkpoint and its images, and write the float file and the calibration inputs.

    Raises:
        MptqError: something cannot be read or written.
    """
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MptqError(f"--keep {keep} is no folder that can be made: {error.strerror}; name another") from error
    loaded = load_model(str(checkpoint))
    prepare = loaded.preprocessing
    folder, labels = labelled(val, loaded, images)
    pixels = np.concatenate([prepare.normalize(batch) for batch in folder.batches(16)])
    model = Model(checkpoint, calib, count, keep, pixels, labels)
    if not model.inputs.exists():
        np.save(model.inputs, np.concatenate(list(open_calibration(calib, prepare, count=count).batches(1))))
    if not model.floating.exists():
        write_float_onnx(loaded.model, np.load(model.inputs)[:2], model.floating)
    return model


def timed(forms: Sequence[Form], x: np.ndarray, threads: int, rounds: int, base: str) -> dict[str, dict[str, Any]]:
    """Latency of each form for one input, and its ratio to that of `base` in the same round."""
    opened = {form.name: form.open(threads) for form in forms}
    seconds = interleave({name: _once(predict, x) for name, predict in opened.items()}, rounds, Terminal())
    return {
        name: {
            "threads": threads,
            "latency_ms": asdict(Quartiles.of(own * 1e3)),
            "over_base": asdict(Quartiles.of(own / seconds[base])),
        }
        for name, own in seconds.items()
    }


def _once(predict: Predict, x: np.ndarray) -> Callable[[], object]:
    return lambda: predict(x)


def closeness(form: Form, model: Model, floating: np.ndarray) -> dict[str, float]:
    """KL, top-1 equal to that of the float model, and top-1, of (images, classes) logits."""
    found = logits(form.open(1), model.images, form.name)
    return {
        "kl": mean_kl(floating, found),
        "agreement": agreement(floating, found),
        "top1": top_k(found, model.labels, 1),
    }


def logits(predict: Predict, images: np.ndarray, name: str) -> np.ndarray:
    """Logits of all images, one at a time."""
    each = tracked(images, Terminal(), f"evaluating {name}", len(images))
    return np.concatenate([predict(image[None]) for image in each])


def show(rows: Sequence[dict[str, Any]], base: str, console: Console) -> None:
    """Print a row a form: latency for each number of threads, ratios to `base`, closeness."""
    threads = [timing["threads"] for timing in rows[0]["timings"]]
    heads = [head for number in threads for head in (f"ms, {number} thr.", f"over {base}")]
    table = Table("form", *heads, "KL", "top-1 equal", "top-1", box=None, padding=(0, 1))
    for row in rows:
        cells = []
        for timing in row["timings"]:
            ratio = Quartiles(**timing["over_base"])
            cells += [f"{timing['latency_ms']['median']:.2f}", f"{ratio.median:.3f} ({spread(ratio)})"]
        close = [f"{row['kl']:.5f}", f"{row['agreement']:.1%}", f"{row['top1']:.1%}"] if "kl" in row else ["-"] * 3
        table.add_row(row["form"], *cells, *close)
    console.print(table)
