"""Functions whose results are all but 0, or that read each other: their files are exact on whatever images."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_models import MEAN, STD
from torch import nn

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.run import capture
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST
from mptq_export.transform.prepare import prepare
from mptq_export.verify.code_functions.exhaustive import check_tables
from mptq_export.verify.compare import verify_model


class Mlp(nn.Module):
    """Patches -> a norm, a hidden layer and its functions -> 7 logits of the mean token."""

    def __init__(self, offset: float, *functions: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 16, 8, 8)
        self.norm = nn.LayerNorm(16)
        self.fc1, self.act, self.fc2 = nn.Linear(16, 32), nn.Sequential(*functions), nn.Linear(32, 16)
        self.head = nn.Linear(16, 7)
        with torch.no_grad():
            self.fc1.weight *= 0.3
            self.fc1.bias += offset
            if offset:
                self.fc2.weight *= 1e3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x + self.fc2(self.act(self.fc1(self.norm(x))))
        result: torch.Tensor = self.head(x.mean(1))
        return result


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("offset", "functions"),
    [
        (-5.2, (nn.GELU(),)),
        (-5.2, (nn.GELU(approximate="tanh"),)),
        (-16.0, (nn.SiLU(),)),
        (0.0, (nn.SiLU(), nn.Tanh())),
        (0.0, (nn.GELU(), nn.Tanh())),
    ],
)
def test_the_file_is_exact_on_constant_images(
    tmp_path: Path, bits: int, offset: float, functions: tuple[nn.Module, ...]
):
    model = Mlp(offset, *functions).eval().requires_grad_(False)
    x = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1.5, 1.5)
    graph = prepare(capture(model, (3, 32, 32)), x[:2], (MEAN, STD))
    calibrated = CalibratedGraph(graph, collect(graph, [x.numpy()]), x)
    graph, recipe = build_recipe(calibrated, lambda _layer: (8, bits), BEST)
    made = emit(graph, recipe, input_type="float32", producer="1")
    assert check_tables(made) == 256 * len(functions)
    onnx.save(made, tmp_path / "m.onnx")
    levels = np.linspace(-1.5, 2, 50, dtype=np.float32)
    constant = np.broadcast_to(levels[:, None, None, None], (50, 3, 32, 32)).copy()
    report = verify_model(tmp_path / "m.onnx", [constant], threads=1)
    assert report.passed, [(tensor.name, tensor.difference) for tensor in report.diverging[:3]]
