"""A layer that a model calls at several places: one weight, a bias and an activation scale of its own a call."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import mptq_export
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.units import Unit, pinned_widths, units
from mptq_export.calibrate.statistics import collect
from mptq_export.capture.calls import calls, in_order
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Linear
from mptq_export.capture.run import capture
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX, Method
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.outputs import Output
from mptq_export.recipe.store import read_recipe
from mptq_export.transform.fold_sq_b import sq_b_readers
from mptq_export.transform.prepare import prepare
from mptq_export.verify.compare import verify_model

SIZE = (3, 32, 32)
CALLS = ("head", "head_2")
F = nn.functional


class Pyramid(nn.Module):
    """Two maps of an image, of which the second is larger in value, and a head of two layers over both."""

    def __init__(self, loop: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.coarse = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 3, 2, 1)
        self.head, self.last = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 8, 1)
        self.loop = loop
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = F.gelu(self.stem(x))
        coarse = 4 * self.coarse(self.head(fine) if self.loop else fine)
        return self.last(F.relu(self.head(fine))), self.last(F.relu(self.head(coarse)))


class Turned(nn.Module):
    """Two layers, in one order and in the other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.a, self.b = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.a(F.relu(self.b(x))) + self.b(F.relu(self.a(x)))


class Normed(nn.Module):
    """Two norms whose readers are one layer, and a layer of its own behind a third."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norms = nn.Conv2d(3, 16, 8, 8), nn.ModuleList(nn.LayerNorm(16) for _ in range(3))
        self.head, self.other = nn.Linear(16, 8), nn.Linear(16, 8)
        self.eval().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        first, second = self.head(self.norms[0](x)), self.head(self.norms[1](x * 2 + 1))
        return (first + second + self.other(self.norms[2](x))).mean(1)


def images(count: int) -> torch.Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(count))
    pixels = (F.interpolate(coarse, SIZE[1:], mode="bilinear") * 255).round() / 255
    return ((pixels - 0.5) / 0.25).contiguous()


def calibrated(model: nn.Module, *outputs: str) -> CalibratedGraph:
    seen = images(8)
    given = tuple(Output(name, "map") for name in outputs)
    captured = capture(model, SIZE, given) if given else capture(model, SIZE)
    graph = prepare(captured, seen[:2], ((0.5,) * 3, (0.25,) * 3))
    return CalibratedGraph(graph, collect(graph, [seen.numpy()]), seen)


def pyramid(**kwargs: bool) -> CalibratedGraph:
    return calibrated(Pyramid(**kwargs), "fine", "coarse")


def test_calls_of_one_module_are_found():
    called = calls(pyramid().graph)
    assert called["head"] == called["head_2"] == CALLS
    assert called["last_2"] == ("last", "last_2")
    assert called["stem"] == ("stem",)


def test_a_layer_that_reads_what_it_gave_is_a_layer_a_call():
    called = calls(pyramid(loop=True).graph)
    assert called["head"] == ("head",)
    assert called["last"] == ("last", "last_2")  # behind it, nothing waits for one of its calls


def test_of_two_layers_that_wait_for_each_other_one_is_a_layer_a_call():
    graph = calibrated(Turned()).graph
    lengths = sorted(len(names) for name, names in calls(graph).items() if name != "stem")
    assert lengths == [1, 1, 2, 2]
    assert in_order(graph, calls(graph)) is not None


def test_a_call_whose_weights_were_changed_is_a_layer_of_its_own():
    graph = pyramid().graph
    node = graph["head_2"]
    changed = replace(node, params={**node.params, "weight": 2 * node.params["weight"]})
    assert calls(graph.updated({"head_2": changed}))["head"] == ("head",)


@pytest.mark.parametrize(("bits", "method"), [((8, 8), MINMAX), ((4, 4), BEST)])
def test_the_codes_are_chosen_and_stored_once(bits: tuple[int, int], method: Method, tmp_path: Path):
    graph, recipe = build_recipe(pyramid(), lambda _layer: bits, method)
    first, second = (recipe.weights[name] for name in CALLS)
    assert np.array_equal(first.codes, second.codes)
    assert np.array_equal(first.scale, second.scale)
    assert recipe.activations["head.input"].scale != recipe.activations["head_2.input"].scale
    model = emit(graph, recipe, input_type="float32", producer="test")
    weights = [t for t in model.graph.initializer if np.prod(t.dims) == first.codes.size]
    assert len(weights) == 2  # of the head, and of the layer in front of it
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    report = verify_model(path, [images(batch).numpy() for batch in (1, 3)], threads=1)
    assert report.differing == 0


def test_weights_are_fitted_to_what_all_calls_read():
    """The reference of both calls together: the error of the codes, summed over the calls."""
    source = pyramid()
    simulated: dict[str, float] = {}
    for only in (None, *CALLS):
        graph, recipe = build_recipe(source, lambda _layer: (3, 8), BEST)
        if only is not None:  # as if that call were the layer
            apart = Graph((replace(n, weights_of=(n.name,)) if n.name in CALLS else n for n in source.graph), "outputs")
            _, alone = build_recipe(replace(source, graph=apart), lambda _layer: (3, 8), BEST)
            assert not np.array_equal(alone.weights["head"].codes, alone.weights["head_2"].codes)
            recipe.weights |= {name: replace(alone.weights[only], bias=recipe.weights[name].bias) for name in CALLS}
        found = Simulator.of(graph, recipe).logits(graph, images(8))
        with torch.no_grad():
            wanted = torch.cat([part.flatten(1) for part in Pyramid()(images(8))], 1)
        sizes = [8 * 8 * 8, 8 * 4 * 4]
        errors = zip(found.split(sizes, 1), wanted.split(sizes, 1), strict=True)
        simulated[str(only)] = sum(float((a - b).square().mean() / b.square().mean()) for a, b in errors)
    assert simulated["None"] < min(simulated[name] for name in CALLS)


def test_a_norm_in_front_of_one_of_several_calls_keeps_its_scales():
    graph = calibrated(Normed()).graph
    read = {
        norm: [node.name for node in sq_b_readers(graph, graph[norm])] for norm in ("norms.0", "norms.1", "norms.2")
    }
    assert read == {"norms.0": [], "norms.1": [], "norms.2": ["other"]}
    _, recipe = build_recipe(calibrated(Normed()), lambda _layer: (4, 4), BEST)
    assert list(recipe.sq_b) == ["norms.2"]
    assert np.array_equal(recipe.weights["head"].codes, recipe.weights["head_2"].codes)


def test_a_search_moves_all_calls_at_once():
    graph = pyramid().graph
    weights, macs = 16 * 16 * 9, 16 * 16 * 9 * (8 * 8 + 4 * 4)
    found = [unit for unit in units(graph, tied=False) if unit.layer.startswith("head")]
    assert found == [
        Unit("head", "weights", weights, 0, ("head_2",)),
        Unit("head", "activations", 0, macs, ("head_2",)),
    ]
    widths = found[0].applied(dict.fromkeys(calls(graph), (8, 8)), 4)
    assert widths["head"] == widths["head_2"] == (4, 8)
    assert pinned_widths(graph, {"head_2": (5, 6)}) == dict.fromkeys(CALLS, (5, 6))
    parameters = sum(
        n.params["weight"].numel() for n in graph if isinstance(n.op, Linear) and not n.name.endswith("_2")
    )
    assert sum(Costs.of(graph).parameters.values()) == parameters + 16 * 3 * 16


def test_an_export_searches_and_replays(tmp_path: Path):
    model, seen = Pyramid(), images(8).numpy()
    loaded = mptq_export.load(model, input_size=SIZE, mean=0.5, std=0.25)
    calibrated = mptq_export.calibrate(loaded, seen)
    (found,) = mptq_export.allocate(calibrated, "4.5", method="paper")
    out = tmp_path / "m.onnx"
    mptq_export.export(found, out)
    recipe = read_recipe(out.with_suffix(".recipe.json"))
    first, second = (recipe.weights[name] for name in CALLS)
    assert first.bits == second.bits
    assert recipe.activations["head.input"].bits == recipe.activations["head_2.input"].bits
    again = tmp_path / "again.onnx"
    mptq_export.export(loaded, again, recipe=out.with_suffix(".recipe.json"))
    assert again.read_bytes() == out.read_bytes()
    for name in (".recipe.json", ".recipe.safetensors"):
        assert again.with_suffix(name).read_bytes() == out.with_suffix(name).read_bytes()


@pytest.mark.parametrize("target", ["qnn", "generic"])
def test_the_portable_form_stores_them_once_too(target: str, tmp_path: Path):
    loaded = mptq_export.load(Pyramid(), input_size=SIZE, mean=0.5, std=0.25)
    out = tmp_path / "m.onnx"
    mptq_export.export(mptq_export.calibrate(loaded, images(8).numpy()), out, method="paper", target=target)
    sizes = [int(np.prod(t.dims)) for t in onnx.load(out).graph.initializer]
    assert sizes.count(16 * 16 * 9) == 2  # of the head, and of the layer in front of it
