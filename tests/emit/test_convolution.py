"""Convolutions between codes, ReLUs that cost nothing, and maps that no float transposition moves."""

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from mptq_export.calibrate.statistics import collect
from mptq_export.capture import ops
from mptq_export.capture.graph import Graph
from mptq_export.capture.run import capture
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX, Method
from mptq_export.quantize.weights.code_range import PAIR_LIMIT
from mptq_export.quantize.weights.quantize_weight import pair_sums, turned
from mptq_export.recipe.outputs import Output
from mptq_export.recipe.schema import Recipe
from mptq_export.transform.prepare import prepare
from mptq_export.verify.compare import verify_model

SIZE = (3, 32, 32)
F = nn.functional


class Neck(nn.Module):
    """Two towers over one map, with lateral sums as in a feature pyramid."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.down = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 3, 2, 1)
        self.lateral, self.deep = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
        self.towers = nn.ModuleList(nn.Conv2d(16, 16, 3, 1, 1) for _ in range(2))
        self.lasts = nn.ModuleList(nn.Conv2d(16, 4, 3, 1, 1, dilation=1) for _ in range(2))
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine = F.relu(self.stem(x))
        coarse = F.relu(self.down(fine))
        merged = self.lateral(fine) + F.interpolate(self.deep(coarse), size=fine.shape[2:], mode="nearest")
        towers = zip(self.towers, self.lasts, strict=True)
        return *(last(F.relu(tower(merged))) for tower, last in towers), F.relu(merged)


def images(count: int) -> torch.Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(count))
    return ((F.interpolate(coarse, SIZE[1:], mode="bilinear") * 255).round() / 255 - 0.5) / 0.25


def prepared() -> Graph:
    given = tuple(Output(name, "map") for name in ("scores", "boxes", "features"))
    return prepare(capture(Neck(), SIZE, given), images(2), ((0.5,) * 3, (0.25,) * 3))


def quantized(bits: tuple[int, int], method: Method) -> tuple[Graph, Recipe]:
    graph, seen = prepared(), images(8)
    return build_recipe(CalibratedGraph(graph, collect(graph, [seen.numpy()]), seen), lambda _layer: bits, method)


def ops_of(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(("bits", "method"), [((8, 8), MINMAX), ((8, 8), BEST), ((4, 4), BEST), ((5, 3), MINMAX)])
def test_every_tensor_is_exact(bits: tuple[int, int], method: Method, tmp_path: Path):
    graph, recipe = quantized(bits, method)
    onnx.save(emit(graph, recipe, input_type="float32", producer="test"), tmp_path / "m.onnx")
    report = verify_model(tmp_path / "m.onnx", [images(batch).numpy() for batch in (1, 3)], threads=1)
    assert report.differing == 0
    assert report.plan.floating == ()


@pytest.mark.parametrize("method", [MINMAX, BEST])
def test_codes_to_codes_are_convolutions_that_cannot_saturate(method: Method):
    graph, recipe = quantized((8, 8), method)
    model = emit(graph, recipe, input_type="float32", producer="test")
    convs = {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert convs == {"down", "towers.0", "towers.1"}  # the stem tiles the image, the last ones give floats
    for name in convs:
        codes = recipe.weights[name].codes
        assert pair_sums(codes).max() <= PAIR_LIMIT
        assert pair_sums(turned(codes, (3, 3))).max() <= PAIR_LIMIT
    claimed = Counter(claim.layer for claim in recipe.proof if claim.what == "int16 pair sum of u8 x s8 kernels")
    assert {name for name, count in claimed.items() if count == 2} == convs


def test_neighbours_that_are_large_in_the_other_order_make_it_a_gemm():
    graph, recipe = quantized((8, 8), MINMAX)
    codes = recipe.weights["down"].codes  # [N, 9 * 16]: position after position
    codes[:] = 0
    codes[:, 0], codes[:, 16] = 127, 127  # of one channel, at two positions beside each other
    assert pair_sums(codes).max() <= PAIR_LIMIT
    model = emit(graph, recipe, input_type="float32", producer="test")
    assert "down" not in {node.name for node in model.graph.node if node.op_type == "Conv"}


def test_a_relu_is_the_lower_end_of_the_codes():
    graph, recipe = quantized((8, 8), MINMAX)
    found = ops_of(emit(graph, recipe, input_type="float32", producer="test"))
    assert sum(isinstance(node.op, ops.Relu) for node in graph) == 5
    assert "Relu" not in found
    assert found["Clip"] == 0
    assert found["Abs"] == 1  # of the output that is read as floats
    assert recipe.activations["lasts.0.input"].zero_point == 0


def test_maps_stay_as_they_are_between_convolutions():
    graph = prepared()
    for node in (node for node in graph if isinstance(node.op, ops.Permute)):
        assert [reader.name for reader, _ in graph.final_readers(node.name) or ()] == [graph.output]
    read = [node for node in graph if isinstance(node.op, ops.Windows) and node.op.stride == (1, 1)]
    assert len(read) == 3  # both towers read the same windows of one map
    _, recipe = quantized((8, 8), MINMAX)
    assert recipe.activations["towers.0.input"] == recipe.activations["towers.1.input"]


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_a_relu_of_a_zero_has_no_sign(factor: float, tmp_path: Path):
    class Signed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 8, 8)
            self.stem.weight.data[::2] = 0
            self.stem.bias.data[::2] = 0
            self.eval().requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(F.gelu(self.stem(x)) * torch.full((1, 8, 1, 1), factor))

    captured = capture(Signed(), SIZE, (Output("map", "map"),))
    graph, seen = prepare(captured, images(2), ((0.5,) * 3, (0.25,) * 3)), images(8)
    calibrated = CalibratedGraph(graph, collect(graph, [seen.numpy()]), seen)
    graph, recipe = build_recipe(calibrated, lambda _layer: (8, 8), MINMAX)
    onnx.save(emit(graph, recipe, input_type="float32", producer="test"), tmp_path / "m.onnx")
    assert verify_model(tmp_path / "m.onnx", [images(2).numpy()], threads=1).differing == 0
