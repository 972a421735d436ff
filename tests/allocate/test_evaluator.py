"""The cached metric against a simulation from scratch, and the estimate against the metric."""

from dataclasses import dataclass
from functools import cache
from statistics import fmean

import numpy as np
import pytest
import torch
from quantize.helpers import digits
from scipy.stats import spearmanr

from mptq_export.allocate.catalogue import ExactCatalogue, collect_catalogue
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import sensitivity_table
from mptq_export.allocate.units import Widths, layers
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Softmax
from mptq_export.quantize.method import Method
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.quantize.simulation.simulate import Simulator

BITS = range(3, 7)
PINNED = {"head": (8, 7)}


@dataclass(frozen=True)
class Setting:
    catalogue: ExactCatalogue
    images: torch.Tensor
    space: SearchSpace

    def evaluator(self) -> Evaluator:
        return Evaluator(digits().graph, self.catalogue, self.images, self.distance)

    @staticmethod
    def distance(exact: torch.Tensor, found: torch.Tensor) -> list[float]:
        distances: list[float] = divergence(digits().graph, exact, found).tolist()
        return distances


@cache
def setting() -> Setting:
    """Quantizers without learned rounding, which are quick to make."""
    calibrated = digits().calibrated.of_images(range(24))
    space = SearchSpace.of(calibrated.graph, WidthDomain.of_range(BITS), tied=False, pins=PINNED)
    return Setting(collect_catalogue(calibrated, Method(opt_m=True), space), calibrated.images, space)


def from_scratch(widths: Widths) -> float:
    """The divergence of a simulator that never saw other widths."""
    made, graph = setting(), digits().graph
    simulator = Simulator(graph, made.catalogue.exponents)
    simulator.activations = {
        key: made.catalogue.activations[key, widths[made.catalogue.decides[key]][1]]
        if key in made.catalogue.decides
        else quant
        for key, quant in made.catalogue.widest.items()
    }
    for layer, (weights, _) in widths.items():
        if (layer, weights) in made.catalogue.weights:
            simulator.set_weight(layer, made.catalogue.weights[layer, weights], torch.device("cpu"))
    with torch.no_grad():
        p = evaluate(graph, made.images.double()).log_softmax(-1)
        q = simulator.logits(graph, made.images).double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def walk(seed: int, count: int) -> list[Widths]:
    """Widths as a search asks for them: one unit up or down, back again, now and then everything."""
    generator = np.random.default_rng(seed)
    moving = setting().space.units
    found = [setting().space.start]
    for _ in range(count):
        kind = generator.integers(4)
        widths = found[int(generator.integers(len(found)))] if kind == 0 else found[-1]
        for unit in moving if kind == 1 else [moving[int(generator.integers(len(moving)))]]:
            widths = unit.applied(widths, int(generator.choice(BITS)))
        found.append(widths)
    return found


# -- catalogue ---------------------------------------------------------------------------------------------------------


def test_every_width_has_its_quantizers():
    catalogue = setting().catalogue
    for node in layers(digits().graph):
        tried = BITS if node.name not in PINNED else [PINNED[node.name][0]]
        found = [b for layer, b in catalogue.weights if layer == node.name]
        assert found == (list(tried) if "weight" in node.params else [])
    for (layer, bits), quant in catalogue.weights.items():
        assert quant.bits == bits
        assert abs(int(quant.codes.min())) <= 2 ** (bits - 1), layer
    for (key, bits), quant in catalogue.activations.items():
        scores = isinstance(digits().graph[key.rsplit(".", 1)[0]].op, Softmax)
        assert quant.bits == (8 if scores else bits), key
    assert {b for key, b in catalogue.activations if catalogue.decides[key] == "head"} == {PINNED["head"][1]}


# -- evaluator ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_kept_changes_nothing(seed: int):
    evaluator = setting().evaluator()
    for widths in walk(seed, 20):
        assert fmean(evaluator.divergences(widths)) == pytest.approx(from_scratch(widths), rel=1e-9)


def test_the_order_of_the_questions_does_not_matter():
    asked = walk(2, 8)
    forwards, backwards = setting().evaluator(), setting().evaluator()
    found = [forwards.divergences(widths) for widths in asked]
    assert [backwards.divergences(widths) for widths in reversed(asked)] == found[::-1]


def test_only_later_blocks_are_computed(monkeypatch: pytest.MonkeyPatch):
    evaluator, made = setting().evaluator(), setting()
    evaluator.divergences(made.space.start)
    seen: list[str] = []
    compute = Simulator.compute

    def spy(self: Simulator, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        seen.append(node.name)
        return compute(self, node, inputs)

    monkeypatch.setattr(Simulator, "compute", spy)
    changed = {**made.space.start, "blocks.2.mlp.fc1": (4, 4)}
    evaluator.divergences(changed)
    assert "blocks.2.mlp.fc1" in seen
    assert "blocks.3.mlp.fc1" in seen
    assert not any(name.startswith(("blocks.0.", "blocks.1.", "patch_embed")) for name in seen)
    seen.clear()
    evaluator.divergences(changed)
    assert seen == []


Divergences = dict[tuple[str, int], float]


# -- sensitivity -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone() -> tuple[Divergences, Divergences]:
    """Estimated and true divergence of every unit at 3 and 4 bits while all others stay high."""
    made = setting()
    table = sensitivity_table(digits().graph, made.catalogue, made.images, made.space)
    evaluator, start = made.evaluator(), made.space.start
    true = {(u.key, b): fmean(evaluator.divergences(u.applied(start, b))) for u in made.space.units for b in (3, 4)}
    return table, true


def test_fewer_bits_never_look_better(alone: tuple[Divergences, Divergences]):
    table, _ = alone
    keys = [unit.key for unit in setting().space.units]
    assert set(table) == {(key, b) for key in keys for b in BITS}
    for key in keys:
        values = [table[key, b] for b in BITS]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1] >= 0


@pytest.mark.parametrize("bits", [3, 4])
def test_estimates_order_units_as_the_true_metric_does(alone: tuple[Divergences, Divergences], bits: int):
    table, true = alone
    keys = [key for key, b in true if b == bits]
    correlation = spearmanr([table[key, bits] for key in keys], [true[key, bits] for key in keys]).statistic
    assert correlation > 0.6
