"""Random matrices as activations are, and the digits model: a real trained checkpoint with real images."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from mptq_export.calibrate.statistics import Statistics, collect
from mptq_export.capture.graph import Graph
from mptq_export.capture.run import capture
from mptq_export.data.images import ImageFolder
from mptq_export.load.loaders import load_model
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import Method
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.transform.prepare import prepare

_DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def correlated(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    """Rows whose channels share a few directions, as activations do: float32 [rows, width]."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(max(2, width // 4), width, generator=generator)
    common = torch.randn(rows, len(mixing), generator=generator) @ mixing
    return common + 0.2 * torch.randn(rows, width, generator=generator) + 0.3


def second_moment(x: torch.Tensor) -> Hessian:
    return Hessian(x.double().T @ x.double() / len(x))


def hessian_error(gap: torch.Tensor, hessian: Hessian) -> torch.Tensor:
    """`g H g^T` of every row, float64 [rows]."""
    return ((gap.double() @ hessian.matrix) * gap.double()).sum(1)


def levels_of(quant: ActivationQuant) -> list[int]:
    """All codes that a quantizer can give, one by one."""
    if not quant.regions:
        return list(range(quant.low, quant.high + 1))
    found = [quant.low]
    for region in quant.regions:
        while found[-1] < region.last:
            found.append(found[-1] + 2**region.shift)
    return found


@dataclass(frozen=True)
class Digits:
    """The digits model, ready to be quantized."""

    graph: Graph
    stats: Statistics
    calib: torch.Tensor
    val: torch.Tensor

    @property
    def calibrated(self) -> CalibratedGraph:
        return CalibratedGraph(self.graph, self.stats, self.calib)

    def build(self, bits: tuple[int, int], method: Method) -> tuple[Graph, Recipe]:
        return build_recipe(self.calibrated, lambda _name: bits, method)


@cache
def digits() -> Digits:
    loaded = load_model(_DIGITS / "digits_vit.pt")
    how = loaded.preprocessing

    def read(folder: str, limit: int) -> torch.Tensor:
        found = ImageFolder(_DIGITS / folder, how, limit=limit, labels=False)
        return torch.from_numpy(np.concatenate([how.normalize(pixels) for pixels in found.batches(64)]))

    calib, val = read("calib", 48), read("val", 200)
    graph = prepare(capture(loaded.model, how.input_size), calib[:2], (how.mean, how.std))
    return Digits(graph, collect(graph, [calib.numpy()]), calib, val)
