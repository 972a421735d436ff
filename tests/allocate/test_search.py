"""Whole searches on the digits model: within every budget, better than one width for all, and what was asked for."""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from quantize.helpers import digits

from mptq_export.allocate import search as searching
from mptq_export.allocate.budget import Budget
from mptq_export.allocate.catalogue import ExactCatalogue
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.greedy_mp import Step
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.quantized_base import Rebased
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search import SearchResult, search
from mptq_export.allocate.units import layers
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Linear, PatchEmbed
from mptq_export.quantize.method import BEST, PAPER, Method
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import Recipe
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import json_text

#: Narrow first: results come in the order of the budgets, whatever order the search meets them in.
BUDGETS = ("4", "5")
PINS = {"head": (8, 8), "blocks.0.attn.*": (6, 5), "blocks.0.attn.proj": (7, 7)}


def settings(*budgets: str, bits: range, tied: bool = False, pins: dict[str, tuple[int, int]] | None = None):
    return SearchRequest(tuple(Budget.parse(text) for text in budgets), WidthDomain.of_range(bits), tied, pins or {})


def found_with(
    made: SearchRequest, method: Method, journal: Path, ticks: list[tuple[Step, float, float]]
) -> SearchResult:
    problem = AllocationProblem(digits().calibrated, method, made)
    return search(problem, journal, resume=False, tick=lambda *args: ticks.append(args))


@dataclass(frozen=True)
class Run:
    search: SearchResult
    ticks: list[tuple[Step, float, float]]
    journal: Path


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All techniques, two budgets."""
    ticks: list[tuple[Step, float, float]] = []
    journal = tmp_path_factory.mktemp("untied") / "x.search.jsonl"
    return Run(found_with(settings(*BUDGETS, bits=range(3, 7)), BEST, journal, ticks), ticks, journal)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The paper's techniques and its steps, with pins, two of which are outside the range."""
    ticks: list[tuple[Step, float, float]] = []
    journal = tmp_path_factory.mktemp("tied") / "x.search.jsonl"
    made = settings("5", bits=range(4, 7), tied=True, pins=PINS)
    return Run(found_with(made, PAPER, journal, ticks), ticks, journal)


def divergence(graph: Graph, recipe: Recipe) -> float:
    """Mean KL divergence from the float model on images that nothing was chosen with."""
    with torch.no_grad():
        p = evaluate(digits().graph, digits().val).log_softmax(-1)
        q = Simulator.of(graph, recipe).logits(graph, digits().val).log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


@cache
def uniform() -> float:
    return divergence(*digits().build((4, 4), BEST))


def test_every_result_is_within_its_budget(untied: Run):
    assert [found.budget.text for found in untied.search.found] == list(BUDGETS)
    for found in untied.search.found:
        weights, activations = Costs.of(digits().graph).mean_bits(found.widths)
        assert found.budget.most - 0.3 < max(weights, activations) <= found.budget.most + 1e-9
        assert all(3 <= bits <= 6 for pair in found.widths.values() for bits in pair)


def test_widths_differ(untied: Run):
    """The search decides: between layers, and between weights and activations of a layer."""
    widths = untied.search.found[0].widths
    assert len({weights for weights, _ in widths.values()}) > 1
    assert len({activations for _, activations in widths.values()}) > 1
    assert any(weights != activations for weights, activations in widths.values())


def test_mixed_is_better_than_uniform(untied: Run):
    graph, recipe = untied.search.problem.build_final_recipe(untied.search.found[0].widths)
    assert divergence(graph, recipe) < 0.6 * uniform()


def test_the_final_recipe_has_the_widths(untied: Run):
    found = untied.search.found[1]
    _, recipe = untied.search.problem.build_final_recipe(found.widths)
    for name, quant in recipe.weights.items():
        assert quant.bits == found.widths[name][0]
    for node in layers(digits().graph):
        operands = [q.bits for key, q in recipe.activations.items() if key.rsplit(".", 1)[0] == node.name]
        assert set(operands) == ({8} if isinstance(node.op, PatchEmbed) else {found.widths[node.name][1]})


def test_a_result_of_one_width_is_the_uniform_export(untied: Run):
    """Nothing of the search stays in a final recipe but its widths: not the transforms that all candidates shared."""
    problem = untied.search.problem
    _, recipe = problem.build_final_recipe({layer: (4, 4) for layer in problem.space.start})
    _, expected = digits().build((4, 4), BEST)
    assert recipe.activations == expected.activations
    for name, quant in expected.weights.items():
        found = recipe.weights[name]
        assert (found.codes == quant.codes).all(), name
        assert (found.scale == quant.scale).all(), name
        assert (found.bias == quant.bias).all(), name


@pytest.mark.parametrize("run", ["untied", "tied"])
def test_the_better_solver_is_taken(run: str, request: pytest.FixtureRequest):
    for found in request.getfixturevalue(run).search.found:
        both = {"greedy", "integer programme"}
        assert set(found.compared) == both or (len(found.compared) == 2 and found.solver == "quantized base")
        assert found.divergence == min(found.compared.values()) == found.compared[found.solver]
        assert 0 < found.divergence < 1


def test_both_solvers_are_about_as_good(untied: Run):
    """The programme meets every budget too, and an additive estimate is a fair guide."""
    for found in untied.search.found:
        one, other = found.compared.values()
        assert 0.3 < one / other < 3


@pytest.mark.parametrize("run", ["untied", "tied"])
def test_the_front_falls(run: str, request: pytest.FixtureRequest):
    made: Run = request.getfixturevalue(run)
    front = made.search.front
    for key in ("mean_weight_bits", "mean_activation_bits"):
        values = [getattr(point, key) for point in front]
        assert values == sorted(values, reverse=True), key
    assert front[-1].file_bytes <= front[0].file_bytes  # not at every step: small weights are packed at 4 bits alone
    assert all(point.latency_ms > 0 for point in front)
    last = min(found.budget.most for found in made.search.found)
    assert max(front[-1].mean_weight_bits, front[-1].mean_activation_bits) <= last + 1e-9
    assert all(point.divergence > 0 for point in front)
    assert json.loads(json_text(front)) == [asdict(point) for point in front]
    ticks = [(step.lowered, step.divergence, weights, acts) for step, weights, acts in made.ticks]
    keys = ("lowered", "divergence", "mean_weight_bits", "mean_activation_bits")
    assert ticks == [tuple(getattr(point, key) for key in keys) for point in front]


def test_where_estimates_do_not_add_up_the_base_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And an interrupted search replays what was measured there, too."""
    monkeypatch.setattr(searching, "sum_errs", lambda _images, _summed: True)
    problem = AllocationProblem(digits().calibrated.of_images(range(12)), PAPER, settings("3", bits=range(2, 5)))
    heard: list[Rebased] = []
    journal = tmp_path / "x.search.jsonl"
    made = search(problem, journal, resume=False, again=lambda _budget, found: heard.append(found))
    (found,), (base,) = made.found, heard
    assert max(made.costs.mean_bits(found.widths)) <= 3 + 1e-9
    assert found.widths == base.widths
    assert base.divergence <= base.before
    if found.solver == "quantized base":
        assert base.before in found.compared.values() and found.divergence == base.divergence < base.before
    on_base = [line for line in map(json.loads, journal.read_text().splitlines()) if " > " in line.get("widths", "")]
    assert 2 <= len(on_base) <= 18
    again = search(problem, journal, resume=True)
    assert again.found == made.found and again.evaluations == made.evaluations
    assert len(journal.read_text().splitlines()) == 2 + made.evaluations


def test_a_base_has_the_quantizers_near_its_widths(untied: Run):
    found = untied.search.found[0].widths
    base = untied.search.problem.around(found, 1)
    assert base.space.start == found != untied.search.problem.space.start
    assert isinstance(base.catalogue, ExactCatalogue)
    for (layer, bits), quant in base.catalogue.weights.items():
        assert abs(bits - found[layer][0]) <= 1 and quant.bits == bits
    assert {key for key, quant in base.catalogue.widest.items() if key in base.catalogue.decides} == set(
        base.catalogue.decides
    )
    for key, layer in base.catalogue.decides.items():
        assert base.catalogue.widest[key] == base.catalogue.activations[key, found[layer][1]]
    rising = [[base.table[unit.key, b] for b in base.space.widths(unit)] for unit in base.space.units]
    assert all(values == sorted(values, reverse=True) and values[-1] == 0 for values in rising)
    assert base.costs is untied.search.problem.costs


def test_what_is_saved_is_paid_for(untied: Run):
    few, many = untied.search.found
    assert few.divergence > many.divergence
    assert untied.search.front[-1].divergence > untied.search.front[0].divergence


def test_few_measurements(untied: Run):
    """Far fewer than every unit before every step; all of them are in the journal."""
    made = untied.search
    steps = sum(len(point.lowered) for point in made.front)
    assert len(made.front) < made.evaluations < 0.03 * steps * len(made.problem.space.units)
    assert len(untied.journal.read_text().splitlines()) == 2 + made.evaluations  # the search, the times


def test_estimates_are_those_of_the_widths(untied: Run):
    made = untied.search
    few, many = (made.estimates(found) for found in made.found)
    assert set(few) == {unit.key for unit in made.problem.space.units}
    assert 0 < sum(many.values()) < sum(few.values())
    assert made.bits_text(made.found[0]).startswith("mixed 4: mean ")


def test_tied_sides_stay_together(tied: Run):
    (found,) = tied.search.found
    free = [n for n in layers(digits().graph) if isinstance(n.op, Linear) and n.name not in PINS]
    moved = [n for n in free if not n.name.startswith("blocks.0.attn.")]
    assert len(moved) > 8
    assert all(found.widths[n.name][0] == found.widths[n.name][1] for n in moved)
    assert len({found.widths[n.name] for n in moved}) > 1
    assert max(Costs.of(digits().graph).mean_bits(found.widths)) <= 5


def test_pinned_layers_keep_their_widths(tied: Run):
    widths = tied.search.found[0].widths
    assert widths["head"] == (8, 8)
    assert widths["blocks.0.attn.proj"] == (7, 7)  # the later pin
    attention = [name for name in widths if name.startswith("blocks.0.attn.") and not name.endswith(".proj")]
    assert len(attention) == 3
    assert all(widths[name] == (6, 5) for name in attention)
    assert not {unit.layer for unit in tied.search.problem.space.units} & {"head", "blocks.0.attn.proj", *attention}
    _, recipe = tied.search.problem.build_final_recipe(tied.search.found[0].widths)
    assert recipe.weights["head"].bits == recipe.activations["head.input"].bits == 8


@pytest.mark.parametrize(
    ("budget", "pins", "words"),
    [
        ("3.9", {}, ("--mixed 3.9 cannot be met", "widths of 4-6", "4.00/4.00", "--mixed-range")),
        ("5", {"blocks.*": (8, 8)}, ("--mixed 5 cannot be met", "pins stand", "7.")),
        ("20kB", {}, ("--mixed 20kB cannot be met", "4.00/4.00", "MB")),
    ],
)
def test_an_impossible_budget(tmp_path: Path, budget: str, pins: dict[str, tuple[int, int]], words: tuple[str, ...]):
    journal = tmp_path / "x.jsonl"
    with pytest.raises(MptqError) as raised:
        found_with(settings("9", budget, bits=range(4, 7), pins=pins), Method(), journal, [])
    for word in words:
        assert word in str(raised.value)
    assert not journal.exists()


def test_a_pin_that_matches_nothing(tmp_path: Path):
    with pytest.raises(MptqError, match="--pin head2 matches no layer"):
        found_with(settings("5", bits=range(4, 7), pins={"head2": (8, 8)}), Method(), tmp_path / "x.jsonl", [])
