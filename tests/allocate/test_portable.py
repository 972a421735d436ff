"""Widths that a runtime really computes in: weights of 4 and 8 bits, activations of 8 and 16, as for Qualcomm's HTP."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from quantize.helpers import digits
from scipy.stats import spearmanr
from tiny_models import images, prepared

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.portable_catalogue import PortableCatalogue, collect_portable
from mptq_export.allocate.portable_form import PortableSearchForm
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import sensitivity_table
from mptq_export.allocate.units import Widths, layers
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.calibrate.statistics import Statistics, collect
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Matmul, PatchEmbed
from mptq_export.emit.portable.emitter import emit_portable
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, Method
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.quantize.target_form import graph_for
from mptq_export.recipe.schema import Recipe
from mptq_export.targets.table import TARGETS

from .searches import Searched, searched

_QNN = TARGETS["qnn"].portable
assert _QNN is not None
QNN = _QNN
DOMAIN = WidthDomain((4, 8), (8, 16))
PINNED = {"blocks.1.mlp.fc1": (8, 8)}
COUNT = 16


def form(residual: int = 16) -> PortableSearchForm:
    return PortableSearchForm(Portable(QNN, residual))


@cache
def calibrated(count: int = COUNT) -> CalibratedGraph:
    graph = graph_for(form().quantizing, digits().graph, "float32")
    return CalibratedGraph(graph, digits().stats, digits().calib[:count])


def space_of(graph: Graph, residual: int = 16, pins: dict[str, tuple[int, int]] | None = None) -> SearchSpace:
    return SearchSpace.of(graph, DOMAIN, tied=False, pins=pins or {}, fixed=form(residual).fixed(graph, DOMAIN))


@dataclass(frozen=True)
class Setting:
    graph: Graph
    images: torch.Tensor
    residual: int
    space: SearchSpace
    catalogue: PortableCatalogue

    def evaluator(self) -> Evaluator:
        return Evaluator(self.graph, self.catalogue, self.images, self.distance)

    def distance(self, exact: torch.Tensor, found: torch.Tensor) -> list[float]:
        distances: list[float] = divergence(self.graph, exact, found).tolist()
        return distances

    def walk(self, seed: int, count: int) -> list[Widths]:
        """Widths as a search asks for them: one unit at a time, now and then everything."""
        generator = np.random.default_rng(seed)
        found = [self.space.start]
        for _ in range(count):
            widths, moving = found[-1], self.space.units
            for unit in moving if generator.integers(3) == 0 else [moving[int(generator.integers(len(moving)))]]:
                widths = unit.applied(widths, int(generator.choice(self.space.widths(unit))))
            found.append(widths)
        return found


def made(graph: Graph, stats: Statistics, some: torch.Tensor, residual: int, space: SearchSpace) -> Setting:
    """Quantizers without learned rounding, which are quick to make."""
    given = CalibratedGraph(graph, stats, some)
    return Setting(graph, some, residual, space, collect_portable(form(residual).quantizing, given, Method(), space))


@cache
def setting(residual: int = 16) -> Setting:
    given = calibrated()
    return made(given.graph, given.stats, given.images, residual, space_of(given.graph, residual, PINNED))


def from_scratch(setting: Setting, widths: Widths) -> list[float]:
    """The divergence of a simulator that never saw other widths."""
    where = form(setting.residual).quantizing.sites(setting.graph, widths.__getitem__)
    simulator = PortableSimulator(where)
    simulator.activations = {s.key: setting.catalogue.activations[s.key, where.bits(s)] for s in where.all}
    for (layer, bits), quant in setting.catalogue.weights.items():
        if widths[layer][0] == bits:
            simulator.set_weight(layer, quant, torch.device("cpu"))
    with torch.no_grad():
        exact = evaluate(setting.graph, setting.images.double())
        found = torch.cat([simulator.logits(setting.graph, some) for some in setting.images.split(4)])
    return setting.distance(exact, found)


# -- what moves --------------------------------------------------------------------------------------------------------


def test_what_writes_the_output_runs_at_the_width_of_the_residual():
    """Its activations move where the residual has 8 bits, and the pixels never do."""
    graph = calibrated().graph
    patch = next(node.name for node in layers(graph) if isinstance(node.op, PatchEmbed))
    wide, narrow = (form(residual).fixed(graph, DOMAIN) for residual in (16, 8))
    assert wide == {patch: 16, "head": 16}
    assert narrow == {patch: 8}
    keys = {unit.key for unit in space_of(graph, 16).units}
    assert "head:weights" in keys
    assert "head:activations" not in keys
    assert "head:activations" in {unit.key for unit in space_of(graph, 8).units}
    assert space_of(graph, 16).start["head"] == (8, 16)


def test_units_have_their_own_widths():
    space = space_of(calibrated().graph)
    for unit in space.units:
        assert space.widths(unit) == ((8, 16) if unit.side == "activations" else (4, 8))
        assert space.below(unit, space.start) == ((8,) if unit.side == "activations" else (4,))
        assert space.below(unit, space.narrowest) == ()


# -- catalogue and evaluator -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [8, 16])
def test_what_is_kept_changes_nothing(residual: int):
    evaluator = setting(residual).evaluator()
    for widths in setting(residual).walk(residual, 8):
        assert evaluator.divergences(widths) == pytest.approx(from_scratch(setting(residual), widths), rel=1e-6)


def test_pins_stand():
    catalogue = setting().catalogue
    assert [bits for layer, bits in catalogue.weights if layer == "blocks.1.mlp.fc1"] == [8]
    assert [bits for layer, bits in catalogue.weights if layer == "blocks.0.mlp.fc1"] == [4, 8]
    assert [bits for key, bits in catalogue.activations if key == "blocks.1.mlp.fc1.output"] == [8]


def test_quantizers_have_their_width():
    for (key, bits), quant in setting().catalogue.activations.items():
        assert (quant.bits, quant.low, quant.high) == (bits, 0, 2**bits - 1), key
    for (layer, bits), weight in setting().catalogue.weights.items():
        assert weight.bits == bits, layer


@pytest.mark.parametrize("kind", ["dinov2_reg", "swin"])
def test_any_widths_of_any_model_are_composed(kind: str):
    graph = graph_for(form().quantizing, prepared(kind), "float32")
    some = images(kind, 2)
    one = made(graph, collect(prepared(kind), [some.numpy()]), some, 16, space_of(graph))
    evaluator = one.evaluator()
    for widths in one.walk(1, 3):
        assert evaluator.divergences(widths) == pytest.approx(from_scratch(one, widths), rel=1e-6)


# -- sensitivity -------------------------------------------------------------------------------------------------------


def test_a_width_counts_where_it_rounds():
    """A softmax has the width of its scores, GELU that of the layer before; a wider reader rounds nothing more."""
    graph, catalogue = calibrated().graph, setting().catalogue
    places = {unit.key: catalogue.places(graph, unit) for unit in setting().space.units}
    assert places["blocks.0.mlp.fc1:activations"] == ["blocks.0.mlp.fc1", "blocks.0.mlp.act.gelu"]
    assert places["blocks.0.mlp.fc1:weights"] == ["blocks.0.mlp.fc1"]
    assert places["blocks.0.attn.scores:activations"] == ["blocks.0.attn.scores", "blocks.0.attn.softmax"]
    assert places["blocks.0.attn.proj:activations"] == ["blocks.0.attn.proj"]


def test_estimates_order_units_as_the_true_metric_does():
    one = setting()
    table = sensitivity_table(one.graph, one.catalogue, one.images, one.space)
    evaluator, start = one.evaluator(), one.space.start
    assert set(table) == {(unit.key, bits) for unit in one.space.units for bits in one.space.widths(unit)}
    # Single activations of 8 bits change little more than noise here.
    for side, least in (("weights", 0.6), ("activations", 0.4)):
        moving = [unit for unit in one.space.units if unit.side == side]
        low, high = DOMAIN.weights if side == "weights" else DOMAIN.activations
        risen = [table[unit.key, low] - table[unit.key, high] for unit in moving]
        true = [fmean(evaluator.divergences(unit.applied(start, low))) for unit in moving]
        assert min(risen) >= 0
        assert spearmanr(risen, true).statistic > least, side


# -- searches ----------------------------------------------------------------------------------------------------------


def settings(*budgets: str, pins: dict[str, tuple[int, int]] | None = None) -> SearchRequest:
    read = tuple(Budget.parse(text, both=False) for text in budgets)
    return SearchRequest(read, DOMAIN, tied=False, pins=pins or {})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Searched, Path]:
    problem = AllocationProblem(calibrated(32), BEST, settings("5/12", "5"), form())
    journal = tmp_path_factory.mktemp("portable") / "x.search.jsonl"
    return searched(problem, journal), journal


def kl(built: tuple[Graph, Recipe], widths: Widths) -> float:
    """On images that nothing was chosen with."""
    graph, made = built[0].cast(torch.float32), built[1]
    simulator = PortableSimulator.of(form().quantizing.sites(graph, widths.__getitem__), made)
    with torch.no_grad():
        exact = evaluate(calibrated().graph, digits().val.double())
        return float(divergence(graph, exact, simulator.logits(graph, digits().val)).mean())


def test_every_result_is_within_its_budget(found: tuple[Searched, Path]):
    both, weights = found[0].found
    assert [each.budget.text for each in found[0].found] == ["5/12", "5"]
    mean = found[0].search.problem.costs.mean_bits(both.widths)
    assert 4.5 < mean[0] <= 5
    assert 11 < mean[1] <= 12
    mean = found[0].search.problem.costs.mean_bits(weights.widths)
    assert 4.5 < mean[0] <= 5
    assert mean[1] == 16  # a mean alone is of weights
    for each in found[0].found:
        assert {pair[0] for pair in each.widths.values()} == {4, 8}
        assert {pair[1] for pair in each.widths.values()} <= {8, 16}


def test_mixed_is_better_than_uniform(found: tuple[Searched, Path]):
    """Weights of 4 and 8 bits with activations of 8 and 16 against weights of 4 with activations of 16."""
    widths = found[0].found[0].widths
    mixed = kl(found[0].build_final_recipe(widths), widths)
    uniform = {layer: (4, 16) for layer in widths}
    assert mixed < 0.7 * kl(build_recipe(calibrated(32), uniform.__getitem__, BEST, form=form().quantizing), uniform)


def test_the_final_recipe_has_the_widths(found: tuple[Searched, Path]):
    widths = found[0].found[0].widths
    graph, recipe = found[0].build_final_recipe(widths)
    where = form().quantizing.sites(graph, widths.__getitem__)
    for name, quant in recipe.weights.items():
        assert quant.bits == widths[name][0]
    for node in layers(calibrated().graph):
        assert recipe.activations[f"{node.name}.output"].bits == widths[node.name][1]
        if isinstance(node.op, Matmul):
            right = where.key(node, 1)
            assert right is not None
            assert recipe.activations[right].bits == 8  # HTP's second factor


def test_no_time_is_measured(found: tuple[Searched, Path]):
    assert all(point.latency_ms is None and point.gbops > 0 for point in found[0].front)
    assert '"latency"' not in found[1].read_text()


def test_a_finished_search_is_replayed(found: tuple[Searched, Path], monkeypatch: pytest.MonkeyPatch):
    def divergences(_self: Evaluator, _widths: Widths) -> list[float]:
        raise AssertionError("it was measured before")

    monkeypatch.setattr(Evaluator, "divergences", divergences)
    again = searched(found[0].problem, found[1], resume=True)
    assert [each.widths for each in again.found] == [each.widths for each in found[0].found]
    assert again.front == found[0].front


@pytest.mark.parametrize("budget", ["70%", "0.5GBOPs"])
def test_a_budget_of_bit_operations(tmp_path: Path, budget: str):
    problem = AllocationProblem(calibrated(), Method(), settings(budget), form())
    made = searched(problem, tmp_path / "x.jsonl")
    (one,) = made.found
    operations = problem.costs.operations
    most = 0.7 * operations.at_8_bits if budget == "70%" else 0.5e9
    assert 0.9 * most < operations.total(one.widths) <= most
    assert {pair[0] for pair in one.widths.values()} == {4, 8}
    assert {pair[1] for pair in one.widths.values()} == {8, 16}  # both sides pay


def test_pixels_are_an_input_too():
    """Their codes have 8 bits in front of a residual of 16."""
    graph = graph_for(form().quantizing, digits().graph, "uint8")
    some = digits().calib[:4]
    problem = AllocationProblem(CalibratedGraph(graph, digits().stats, some), Method(), settings("5"), form())
    start, narrow = (problem.evaluator.divergences(w) for w in (problem.space.start, problem.space.narrowest))
    assert 0 < fmean(start) < fmean(narrow) < 0.1
    assert problem.costs.file_bytes(problem.space.narrowest) < problem.costs.file_bytes(problem.space.start)


@pytest.mark.parametrize("residual", [8, 16])
def test_files_are_as_large_as_estimated(residual: int):
    """Whatever the widths are, and however often values are converted."""
    problem = AllocationProblem(calibrated(), Method(), settings("5"), form(residual))
    one = setting(residual)
    for widths in one.walk(3, 4):
        where = form(residual).quantizing.sites(one.graph.cast(torch.float32), widths.__getitem__)
        activations = {s.key: one.catalogue.activations[s.key, where.bits(s)] for s in where.all}
        weights = {name: one.catalogue.weights[name, pair[0]] for name, pair in widths.items() if _coded(one, name)}
        recipe = Recipe(activations, weights, {}, {})
        size = emit_portable(where.graph, recipe, where, input_type="float32", producer="").ByteSize()
        assert size <= problem.costs.file_bytes(widths) < 1.15 * size


def _coded(setting: Setting, name: str) -> bool:
    return "weight" in setting.graph[name].params
