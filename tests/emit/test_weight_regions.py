"""Files whose weights have regions: exact, the same kernels, the codes of the recipe."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.graph import Graph
from mptq_export.capture.run import capture
from mptq_export.emit.exact.emitter import emit
from mptq_export.emit.exact.weight_storage import stored_bytes
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.quantize.weights import weight_regions
from mptq_export.recipe.outputs import Output
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.weight_levels import LARGEST, outliers
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.transform.prepare import prepare
from mptq_export.verify.compare import verify_model
from mptq_export.verify.kernels.plan import read_kernel_plan
from tests.quantize.helpers import digits

WITH = replace(BEST, weight_regions=4)
WIDTHS = [(3, 3), (2, 4)]


@cache
def made(bits: tuple[int, int]) -> tuple[Graph, Recipe]:
    """The digits model; its layers are so small that outliers pay only where the nodes that add them cost nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_regions, "_NODES", 0.0)
        return build_recipe(digits().calibrated.of_images(range(4)), lambda _layer: bits, WITH)


@pytest.fixture(scope="module", params=WIDTHS, ids=["3/3", "2/4"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Graph, Recipe]:
    """A file, its graph and its recipe."""
    graph, recipe = made(request.param)
    path = tmp_path_factory.mktemp("regions") / "m.onnx"
    onnx.save(emit(graph, recipe, input_type="float32", producer="1"), path)
    return path, graph, recipe


def test_every_tensor_is_exact_and_every_matmul_in_integers(case: tuple[Path, Graph, Recipe]):
    path, _, recipe = case
    assert any(outliers(quant).any() for quant in recipe.weights.values())
    assert all(quant.regions is not None for quant in recipe.weights.values())
    report = verify_model(path, [digits().val[:3].numpy()], threads=1)
    assert report.passed, [(tensor.name, tensor.op, tensor.difference) for tensor in report.diverging[:3]]
    assert all(kernel.kind == "integer" for kernel in read_kernel_plan(path).matmuls)


def test_kernels_are_those_of_plain_bytes_and_so_is_the_result(case: tuple[Path, Graph, Recipe], tmp_path: Path):
    path, graph, recipe = case
    plain = tmp_path / "plain.onnx"
    onnx.save(emit(graph, recipe, input_type="float32", producer="1", storage="int8"), plain)
    kernels = [[(kernel.op, kernel.weight) for kernel in read_kernel_plan(each).matmuls] for each in (path, plain)]
    assert kernels[0] == kernels[1]
    x = digits().val[:8].numpy()
    found, expected = (open_session(each).run(["logits"], {"input": x})[0] for each in (path, plain))
    assert np.array_equal(found, expected)


def test_the_simulation_gives_what_the_file_gives(case: tuple[Path, Graph, Recipe]):
    path, graph, recipe = case
    x = digits().val[:40]
    with torch.no_grad():
        simulated = Simulator.of(graph, recipe).logits(graph, x).numpy()
    found = open_session(path).run(["logits"], {"input": x.numpy()})[0]
    same = np.abs(simulated - found).max(-1) < 1e-4
    assert same.mean() > 0.8  # float32 may round a value to the other side of a boundary


def test_codes_are_claimed_to_be_small_enough_for_any_pair(case: tuple[Path, Graph, Recipe]):
    claims = [claim for claim in case[2].proof if claim.what == "int8 weight code magnitude"]
    assert {claim.limit for claim in claims} == {LARGEST}
    assert len(claims) == len(case[2].weights)


def test_the_file_is_as_large_as_its_codes_are_said_to_be(case: tuple[Path, Graph, Recipe]):
    path, graph, recipe = case
    plain = emit(graph, recipe, input_type="float32", producer="1", storage="int8").ByteSize()
    saved = plain - path.stat().st_size
    said = sum(quant.codes.size - stored_bytes(quant) for quant in recipe.weights.values())
    assert saved == pytest.approx(said, abs=0.03 * plain)


def test_a_code_that_is_no_level_is_refused_by_the_emitter(case: tuple[Path, Graph, Recipe]):
    _, graph, recipe = case
    name, quant = next(iter(recipe.weights.items()))
    codes = quant.codes.copy()
    codes[0, 0] = LARGEST + 1
    with pytest.raises(MptqError, match="int8 weight code magnitude"):
        emit(graph, replace(recipe, weights={**recipe.weights, name: replace(quant, codes=codes)}), **FLOAT)


FLOAT = {"input_type": "float32", "producer": "1"}


class Maps(nn.Module):
    """A dense convolution that codes follow, and a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.dense = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 3, 1, 1)
        self.depthwise, self.last = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 8, 1)
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.depthwise(self.dense(self.stem(x).relu()).relu()).relu())


def test_dense_convolutions_have_regions_and_depthwise_ones_whole_numbers(tmp_path: Path):
    seen = ((torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 255).round() / 255 - 0.5) / 0.25
    captured = capture(Maps(), (3, 32, 32), (Output("features", "map"),))
    graph = prepare(captured, seen[:2], ((0.5,) * 3, (0.25,) * 3))
    source = CalibratedGraph(graph, collect(graph, [seen.numpy()]), seen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_regions, "_NODES", 0.0)
        graph, recipe = build_recipe(source, lambda _layer: (3, 4), WITH)
    assert {name for name, quant in recipe.weights.items() if quant.regions is None} == {"depthwise"}
    model = emit(graph, recipe, input_type="float32", producer="1")
    onnx.save(model, tmp_path / "m.onnx")
    assert verify_model(tmp_path / "m.onnx", [seen[:3].numpy()], threads=1).passed
    assert read_kernel_plan(tmp_path / "m.onnx").op_counts["QLinearConv"] == 2


def test_the_portable_form_has_none():
    form = form_for("openvino", 8)
    assert not form.has_weight_regions
    source = CalibratedGraph(graph_for(form, digits().graph, "float32"), digits().stats, digits().calib[:4])
    _, recipe = build_recipe(
        source,
        lambda _layer: (4, 8),
        replace(MINMAX, weight_scales_by_error=True, gptq=True, weight_regions=4),
        form=form,
    )
    assert all(quant.regions is None for quant in recipe.weights.values())
