"""The rows of an ablation: a model quantized at some widths with some techniques, simulated, beside float."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mptq_export.api import Calibrated, calibrate, load
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.data.images import ImageFolder
from mptq_export.evaluate.metrics import Labels, agreement, divergences, mean_interval, share_interval, top_k
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST
from mptq_export.quantize.reconstruct.refold import refolded
from mptq_export.quantize.reconstruct.run import reconstruct
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.store import read_settings
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_text
from tools.bench.labelled import labelled
from tools.bench.techniques import Variant

_BATCH = 25


@dataclass(frozen=True)
class Widths:
    """Bit-widths of all layers.

    Attributes:
        name: for people, such as `3/3`.
        options: of the command line that mean them.
        of_layer: (weights, activations) by layer; empty where all have the same.
        of_all: where all have the same.
    """

    name: str
    options: tuple[str, ...]
    of_layer: tuple[tuple[str, tuple[int, int]], ...] = ()
    of_all: tuple[int, int] = (8, 8)

    @staticmethod
    def uniform(bits: tuple[int, int]) -> "Widths":
        """One pair for all layers."""
        text = "{}/{}".format(*bits)
        return Widths(text, ("--bits", text), of_all=bits)

    @staticmethod
    def of_recipe(path: Path) -> "Widths":
        """Those that a search found.

        Raises:
            MptqError: it is no recipe, or one of uniform widths.
        """
        try:
            search = read_settings(path).search
        except (OSError, ValueError) as error:
            raise MptqError(f"--widths {path} is no recipe of an export ({error}); give a .recipe.json") from error
        if search is None:
            raise MptqError(f"--widths {path} has one width for all layers; give the recipe of an export with --mixed")
        pairs = {layer: text.partition("/") for layer, text in search.widths.items()}
        of_layer = tuple((layer, (int(weights), int(read))) for layer, (weights, _, read) in pairs.items())
        return Widths(f"mixed {search.budget}", ("--widths", str(path)), of_layer)

    @property
    def stem(self) -> str:
        """The name as a file's."""
        return self.name.replace("/", "-").replace(" ", "-").replace("%", "pct")

    def __call__(self, layer: str) -> tuple[int, int]:
        """(weights, activations) of a layer.

        Raises:
            MptqError: the search knew no such layer.
        """
        if not self.of_layer:
            return self.of_all
        found = dict(self.of_layer).get(layer)
        if found is None:
            raise MptqError(f"{self.options[-1]} has no width for {layer}; give the recipe of an export of this model")
        return found


@dataclass(frozen=True)
class Asked:
    """What all rows share.

    Attributes:
        model: what is quantized, as `mptq-export` takes it.
        calib: calibration images.
        val: class folders of images to judge on.
        out: folder of the rows of one commit.
        images: at most so many validation images.
        count: calibration images.
        device: torch device; None for a GPU where there is one.
    """

    model: str
    calib: Path
    val: Path
    out: Path
    images: int
    count: int
    device: str | None

    def row_file(self, widths: Widths, variant: Variant) -> Path:
        """Where a row is kept."""
        words = "".join(letter if letter.isalnum() else "-" for letter in variant.name)
        return self.out / f"{Path(self.model).stem}.{self.count}-{self.images}.{widths.stem}" / f"{words}.json"


def measure_rows(asked: Asked, wanted: Sequence[tuple[Widths, Variant]], deadline: float | None) -> None:
    """Measure rows one after the other and keep each; stop before one that would begin behind the deadline."""
    bench: _Bench | None = None
    for widths, variant in wanted:
        if deadline is not None and time.monotonic() > deadline:
            return
        bench = bench or _Bench(asked)
        row = bench.measured(widths, variant)
        path = asked.row_file(widths, variant)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(row) + "\n")
        short = {key: value for key, value in row.items() if key != "divergences"}
        print(json.dumps(short), file=sys.stderr, flush=True)


class _Bench:
    """A model with its float logits and the importance of rows, for any number of variants."""

    def __init__(self, asked: Asked) -> None:
        self.calibrated: Calibrated = calibrate(load(asked.model), asked.calib, count=asked.count, device=asked.device)
        folder, labels = labelled(asked.val, self.calibrated.loaded, asked.images)
        self.folder: ImageFolder = folder
        self.labels: Labels = labels
        self.floats = self._logits(self.calibrated.graph.cast(torch.float32), None)

    @cached_property
    def _alike(self) -> CalibratedGraph:
        calibrated = self.calibrated
        return CalibratedGraph(calibrated.graph, calibrated.stats, calibrated.images)

    @cached_property
    def _weighted(self) -> CalibratedGraph:
        return self._alike.with_importance(BEST)

    def measured(self, widths: Widths, variant: Variant) -> dict[str, Any]:
        """The figures of a row; `divergences` of every image."""
        start, images = time.monotonic(), self.calibrated.images
        source = self._weighted if variant.method.row_importance else self._alike
        graph, recipe = build_recipe(source, widths, variant.method)
        if variant.learned is not None:
            recipe = reconstruct(graph, recipe, images, learning=variant.learned)
            graph = refolded(graph, self.calibrated.graph, recipe)
        graph = graph.cast(torch.float32)
        seconds = time.monotonic() - start
        found = self._logits(graph, Simulator.of(graph, recipe, images.device))
        kl, same = divergences(self.floats, found), agreement(self.floats, found)
        return {
            "widths": widths.name,
            "method": variant.name,
            "images": len(kl),
            "top1": top_k(found, self.labels, 1),
            "float_top1": top_k(self.floats, self.labels, 1),
            "agreement": same,
            "agreement_interval": share_interval(round(same * len(kl)), len(kl)),
            "kl": float(kl.mean()),
            "kl_interval": mean_interval(kl),
            "seconds": seconds,
            "divergences": [float(f"{value:.6g}") for value in kl],
        }

    def _logits(self, graph: Graph, simulator: Simulator | None) -> np.ndarray:
        """Logits of the float graph, or of the quantized one."""
        device, found = self.calibrated.images.device, []
        with torch.no_grad():
            for pixels in self.folder.batches(_BATCH):
                inputs = torch.from_numpy(self.calibrated.loaded.preprocessing.normalize(pixels)).to(device)
                compute = None if simulator is None else simulator.compute
                found.append(evaluate(graph, inputs, compute_node=compute).cpu().numpy())
        return np.concatenate(found)
