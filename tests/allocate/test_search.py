"""Whole searches on the digits model: within every budget, better than one width for all, and what was asked for."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import get_args

import pytest
import torch
from quantize.helpers import digits

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.proposals import best
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.stored_search import open_search
from mptq_export.allocate.units import Widths, layers
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Linear, PatchEmbed
from mptq_export.quantize.method import BEST, PAPER, Method
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.settings import Solver
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import json_text
from mptq_export.support.progress import Expected

from .searches import Searched, searched

#: Narrow first: results come in the order of the budgets, whatever order the search meets them in.
BUDGETS = ("4", "5", "3")
PINS = {"head": (8, 8), "blocks.0.attn.*": (6, 5), "blocks.0.attn.proj": (7, 7)}


def settings(*budgets: str, bits: range, tied: bool = False, pins: dict[str, tuple[int, int]] | None = None):
    return SearchRequest(tuple(Budget.parse(text) for text in budgets), WidthDomain.of_range(bits), tied, pins or {})


def problem_of(made: SearchRequest, method: Method) -> AllocationProblem:
    return AllocationProblem(digits().calibrated, method, made)


class Heard:
    """How far the bar of a search came, of how much, and what was expected of it when it was rehearsed."""

    def __init__(self) -> None:
        self.total, self.come, self.texts, self.expected = 0.0, 0.0, list[str](), list[Expected]()

    def expect(self, stages: Sequence[Expected]) -> None:
        self.expected += stages

    @contextmanager
    def stage(self, _label: str, total: float) -> Iterator["Heard"]:
        self.total = total
        yield self

    def advance(self, amount: float = 1, text: str = "") -> None:
        self.come += amount
        self.texts.append(text)


@dataclass(frozen=True)
class Run(Searched):
    heard: Heard
    journal: Path


def run(made: SearchRequest, method: Method, journal: Path) -> Run:
    heard = Heard()
    found = searched(problem_of(made, method), journal, progress=heard)
    return Run(found.problem, found.search, found.found, heard, journal)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All techniques, two budgets."""
    journal = tmp_path_factory.mktemp("untied") / "x.search.jsonl"
    return run(settings(*BUDGETS, bits=range(3, 7)), BEST, journal)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The paper's techniques and its steps, with pins, two of which are outside the range."""
    journal = tmp_path_factory.mktemp("tied") / "x.search.jsonl"
    return run(settings("5", bits=range(4, 7), tied=True, pins=PINS), PAPER, journal)


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
    assert [found.budget.text for found in untied.found] == list(BUDGETS)
    for found in untied.found:
        weights, activations = Costs.of(digits().graph).mean_bits(found.widths)
        assert found.budget.most - 0.3 < max(weights, activations) <= found.budget.most + 1e-9
        assert all(3 <= bits <= 6 for pair in found.widths.values() for bits in pair)


def test_widths_differ(untied: Run):
    """The search decides: between layers, and between weights and activations of a layer."""
    widths = untied.found[0].widths
    assert len({weights for weights, _ in widths.values()}) > 1
    assert len({activations for _, activations in widths.values()}) > 1
    assert any(weights != activations for weights, activations in widths.values())


def test_mixed_is_better_than_uniform(untied: Run):
    graph, recipe = untied.build_final_recipe(untied.found[0].widths)
    assert divergence(graph, recipe) < 0.6 * uniform()


def test_the_final_recipe_has_the_widths(untied: Run):
    found = untied.found[1]
    _, recipe = untied.build_final_recipe(found.widths)
    for name, quant in recipe.weights.items():
        assert quant.bits == found.widths[name][0]
    for node in layers(digits().graph):
        operands = [q.bits for key, q in recipe.activations.items() if key.rsplit(".", 1)[0] == node.name]
        assert set(operands) == ({8} if isinstance(node.op, PatchEmbed) else {found.widths[node.name][1]})


def test_a_result_of_one_width_is_the_uniform_export(untied: Run):
    """Nothing of the search stays in a final recipe but its widths: not the transforms that all candidates shared."""
    _, recipe = untied.build_final_recipe({layer: (4, 4) for layer in untied.problem.space.start})
    _, expected = digits().build((4, 4), BEST)
    assert recipe.activations == expected.activations
    for name, quant in expected.weights.items():
        found = recipe.weights[name]
        assert (found.codes == quant.codes).all(), name
        assert (found.scale == quant.scale).all(), name
        assert (found.bias == quant.bias).all(), name


@pytest.mark.parametrize("name", ["untied", "tied"])
def test_the_better_solver_is_taken(name: str, request: pytest.FixtureRequest):
    for found in request.getfixturevalue(name).found:
        assert set(found.compared) == set(get_args(Solver))
        assert found.solver == best(found.compared) and found.divergence == found.compared[found.solver]
        assert 0 < found.divergence < 1


def test_both_solvers_are_about_as_good(untied: Run):
    """The programme meets every budget too, and an additive estimate is a fair guide."""
    for found in untied.found:
        assert 0.3 < found.compared["greedy"] / found.compared["integer programme"] < 3


@pytest.mark.parametrize("name", ["untied", "tied"])
def test_the_front_falls_to_the_first_rung_within_all_budgets(name: str, request: pytest.FixtureRequest):
    made: Run = request.getfixturevalue(name)
    front, costs, space = made.front, made.search.problem.costs, made.problem.space
    for key in ("mean_weight_bits", "mean_activation_bits"):
        values = [getattr(point, key) for point in front]
        assert values == sorted(values, reverse=True), key
    last = front[-1].mean_weight_bits, front[-1].mean_activation_bits
    assert (last == costs.mean_bits(space.narrowest)) == (name == "untied") == made.search.complete
    assert made.search.rungs[-1].budget == {"untied": "3", "tied": "5"}[name]
    assert max(last) <= float(made.search.rungs[-1].budget)
    assert front[-1].file_bytes <= front[0].file_bytes  # not at every step: small weights are packed at 4 bits alone
    assert all(point.latency_ms > 0 for point in front)
    assert all(point.divergence > 0 for point in front)
    assert json.loads(json_text(front)) == [asdict(point) for point in front]
    assert made.heard.come == pytest.approx(made.heard.total)
    assert [text for text in made.heard.texts if text] == [
        f"mean bits {point.mean_weight_bits:.2f}/{point.mean_activation_bits:.2f}  divergence {point.divergence:.4f}"
        for point in front
    ]
    (rehearsed,) = made.heard.expected
    one = sum(work.candidate for work in made.problem.work)
    assert rehearsed.seconds / one == pytest.approx(made.search.rungs[-1].evaluations, rel=0.5)


def test_a_rung_is_a_budget_that_was_measured(untied: Run):
    problem, rungs = untied.problem, untied.search.rungs
    assert [rung.budget for rung in rungs] == ["5", "4.5", "4", "3.5", "3"]
    for rung, found in ((rungs[2], untied.found[0]), (rungs[0], untied.found[1])):
        proposed = {"greedy": walked(untied, rung.steps), **rung.widths}
        assert found.compared == {solver: fmean(problem.divergences(each)) for solver, each in proposed.items()}
        assert found.divergence == rung.divergence and found.widths == proposed[found.solver]
        assert found.evaluations == rung.evaluations
        assert untied.search.problem.costs.describe(found.widths) == {
            key: getattr(rung, key) for key in untied.search.problem.costs.describe(found.widths)
        }


def walked(made: Run, steps: int) -> Widths:
    """The widths after so many steps."""
    widths = made.problem.space.start
    units = {unit.key: unit for unit in made.problem.space.units}
    for point in made.front[:steps]:
        for key, bits in point.lowered.items():
            widths = units[key].applied(widths, bits)
    return widths


def test_no_budget_is_part_of_a_search(untied: Run, tmp_path: Path):
    """Others find the same numbers, as far as they go down, and go on from the same journal."""
    other = copy(untied.problem)
    other.settings = settings("3.3", "0.28MB", "90%", bits=range(3, 7))
    lines = untied.journal.read_text().splitlines(keepends=True)
    (tmp_path / "x.jsonl").write_text("".join(lines[:2]))  # times are never the same twice
    made = searched(other, tmp_path / "x.jsonl", resume=True)
    assert made.search.found == untied.search.found
    assert other.identity == untied.problem.identity
    journal = tmp_path / "y.jsonl"
    journal.write_bytes(untied.journal.read_bytes())
    again = searched(other, journal, resume=True)
    assert [each.widths for each in again.found] == [each.widths for each in made.found]
    assert journal.read_text() == untied.journal.read_text()
    assert again.search.found == untied.search.found


def test_a_search_measures_what_its_budgets_want_and_goes_on(untied: Run, tmp_path: Path):
    wide = copy(untied.problem)
    wide.settings = settings("5.2", "4.7", bits=range(3, 7))
    (tmp_path / "x.jsonl").write_text("".join(untied.journal.read_text().splitlines(keepends=True)[:2]))
    made = searched(wide, tmp_path / "x.jsonl", resume=True)
    assert [rung.budget for rung in made.search.rungs] == ["5", "4.5"] and not made.search.complete
    assert made.search.rungs == untied.search.rungs[:2]
    assert [each.widths for each in made.found] == [
        untied.search.answer(Budget.parse(text)).widths for text in ("5.2", "4.7")
    ]
    words = r"4: the search went down to .* down to 4.5; .* with --mixed 4 and --resume added"
    with pytest.raises(MptqError, match=words):
        made.search.answer(Budget.parse("4"))
    made.search.write(tmp_path / "x.search.json")
    again = open_search(tmp_path / "x.search.json")
    assert again == made.search
    again.write_journal(tmp_path / "y.jsonl")  # a finished search goes on as an interrupted one
    wide.settings = settings("3.3", bits=range(3, 7))
    on = searched(wide, tmp_path / "y.jsonl", resume=True)
    assert on.search.found == untied.search.found
    wide.settings = settings("5.5", bits=range(3, 7))  # a wider budget loses nothing
    assert searched(wide, tmp_path / "y.jsonl", resume=True).search.found == untied.search.found


ANY = ("5.5", "4.2", "3.3", "3.5/5", "6/3.2", "0.28MB", "0.27MB", "30%", "0.01GBOPs")


@pytest.mark.parametrize("text", ANY)
def test_any_budget_is_answered_without_measuring(
    untied: Run, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
):
    def never(*_: object) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr(Evaluator, "divergences", never)
    budget, problem = Budget.parse(text), untied.search.problem
    if text == "0.01GBOPs":
        with pytest.raises(MptqError, match=r"0.01GBOPs cannot be met: .* mean widths 3.00/3.00, .*raise the budget"):
            untied.search.answer(budget)
        return
    found = untied.search.answer(budget)
    assert all(constraint.met(found.widths) for constraint in problem.costs.constraints(budget))
    assert all(3 <= bits <= 6 for pair in found.widths.values() for bits in pair)
    rungs = untied.search.rungs
    measured = [untied.search.found.start, *(each for rung in rungs for each in rung.compared.values())]
    # Read off between what was measured: the widest widths need not be the closest ones on so few images.
    assert min(measured) <= found.divergence <= max(rung.divergence for rung in rungs)
    untied.search.write(tmp_path / "x.search.json")
    assert open_search(tmp_path / "x.search.json").answer(budget) == found
    assert open_search(untied.journal).answer(budget) == found  # of a search that was killed at its end


def test_what_is_expected_is_about_what_it_is(untied: Run):
    for text in ("4.2", "3.3", "3.5/5", "0.27MB", "30%"):
        found = untied.search.answer(Budget.parse(text))
        assert 0.3 < found.divergence / fmean(untied.problem.divergences(found.widths)) < 3, text


def test_an_interrupted_search_answers_what_it_has_measured(untied: Run, tmp_path: Path):
    lines = untied.journal.read_text().splitlines(keepends=True)
    rung = untied.search.rungs[1]
    part = tmp_path / "x.search.jsonl"
    part.write_text("".join(lines[: 3 + rung.evaluations]))  # the search, the times, what was searched
    cut = open_search(part)
    assert not cut.complete and [each.budget for each in cut.rungs] == ["5", "4.5"]
    for text in ("5.5", "4.5", "4.5/6"):
        assert cut.answer(Budget.parse(text)) == untied.search.answer(Budget.parse(text))
    for text in ("4.4", "4.5/3.5"):
        with pytest.raises(MptqError, match=rf"{text}: the search went down to .* down to 4.5; .*--resume"):
            cut.answer(Budget.parse(text))
    part.write_text("".join(lines[:4]))
    with pytest.raises(MptqError, match=r"measured the widest widths alone; .*--mixed 5 and --resume"):
        open_search(part).answer(Budget.parse("5"))


def test_the_table_has_a_row_for_every_width(untied: Run):
    rows, table = untied.search.table(), untied.problem.table
    assert {(row["unit"], row["width"]): row["estimate"] for row in rows} == table
    assert list(rows[0]) == ["unit", "layer", "side", "width", "cost", "bytes", "milliseconds", "estimate"]
    costs = untied.search.problem.costs
    assert sum(row["cost"] for row in rows if row["side"] == "weights" and row["width"] == 4) == 4 * sum(
        costs.parameters.values()
    )
    assert all((row["bytes"] is None) == (row["side"] == "activations") for row in rows)


def test_what_is_saved_is_paid_for(untied: Run):
    few, many, _ = untied.found
    assert few.divergence > many.divergence
    assert untied.front[-1].divergence > untied.front[0].divergence


def test_few_measurements(untied: Run):
    """Far fewer than every unit before every step; all of them are in the journal."""
    steps = sum(len(point.lowered) for point in untied.front)
    evaluations = untied.search.rungs[-1].evaluations
    assert len(untied.front) < evaluations < 0.03 * steps * len(untied.problem.space.units)
    # Beside them the search, the times and what was searched.
    assert len(untied.journal.read_text().splitlines()) == 3 + evaluations


def test_tied_sides_stay_together(tied: Run):
    (found,) = tied.found
    free = [n for n in layers(digits().graph) if isinstance(n.op, Linear) and n.name not in PINS]
    moved = [n for n in free if not n.name.startswith("blocks.0.attn.")]
    assert len(moved) > 8
    assert all(found.widths[n.name][0] == found.widths[n.name][1] for n in moved)
    assert len({found.widths[n.name] for n in moved}) > 1
    assert max(Costs.of(digits().graph).mean_bits(found.widths)) <= 5


def test_pinned_layers_keep_their_widths(tied: Run):
    widths = tied.found[0].widths
    assert widths["head"] == (8, 8)
    assert widths["blocks.0.attn.proj"] == (7, 7)  # the later pin
    attention = [name for name in widths if name.startswith("blocks.0.attn.") and not name.endswith(".proj")]
    assert len(attention) == 3
    assert all(widths[name] == (6, 5) for name in attention)
    assert not {unit.layer for unit in tied.problem.space.units} & {"head", "blocks.0.attn.proj", *attention}
    _, recipe = tied.build_final_recipe(tied.found[0].widths)
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
        searched(problem_of(settings("9", budget, bits=range(4, 7), pins=pins), Method()), journal)
    for word in words:
        assert word in str(raised.value)
    assert not journal.exists()


def test_a_pin_that_matches_nothing(tmp_path: Path):
    with pytest.raises(MptqError, match="--pin head2 matches no layer"):
        searched(problem_of(settings("5", bits=range(4, 7), pins={"head2": (8, 8)}), Method()), tmp_path / "x.jsonl")
