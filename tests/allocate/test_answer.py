"""What a search measures and what it answers, against divergences that are known in closed form."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest

from mptq_export.allocate.answer import answer
from mptq_export.allocate.bit_operations import BitOperations
from mptq_export.allocate.budget import Budget
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.descent import NotMeasuredError, descend, rungs
from mptq_export.allocate.form import Sizes
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.proposals import best
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.stored_problem import StoredProblem
from mptq_export.allocate.units import Unit, Widths
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.recipe.settings import Solver
from mptq_export.support.errors import MptqError
from mptq_export.support.typed_json import from_json

COUNT = 12
NAMES = [f"layer{i:02}" for i in range(COUNT)]
SIZES = {name: 100 * (1 + i % 4) for i, name in enumerate(NAMES)}
ALIKE, APART = WidthDomain.of_range(range(2, 9)), WidthDomain((4, 8), (8, 16))


class Model:
    """Errors of all units add up, some of them to more than the table says, and so do all where widths differ."""

    def __init__(
        self,
        domain: WidthDomain = ALIKE,
        *,
        pinned: Widths | None = None,
        wrong: dict[str, float] | None = None,
        uneven: float = 0.0,
    ) -> None:
        generator = np.random.default_rng(0)
        still = pinned or {}
        self.wrong, self.uneven, self.measured = wrong or {}, uneven, list[Widths]()
        units = [
            Unit(name, side, SIZES[name] * (side == "weights"), SIZES[name] * (side == "activations"))
            for name in NAMES
            for side in ("weights", "activations")
            if name not in still
        ]
        space = SearchSpace(units, dict.fromkeys(NAMES, domain.highest) | still, domain, still)
        scales = dict(zip((unit.key for unit in units), generator.exponential(1.0, len(units)) + 0.2, strict=True))
        self.table: SensitivityTable = {
            (unit.key, bits): float(scales[unit.key] * 4.0**-bits) for unit in units for bits in space.widths(unit)
        }
        stored = {(name, bits): SIZES[name] * bits / 8 for name in NAMES for bits in domain.weights}
        operations = BitOperations(SIZES)
        self.problem = StoredProblem.of(
            space, Costs(SIZES, SIZES, Sizes(500.0, stored), operations=operations), self.table, 1.0
        )

    def exact(self, widths: Widths) -> float:
        units = self.problem.space.units
        summed = sum(self.table[unit.key, unit.bits(widths)] * self.wrong.get(unit.key, 1.0) for unit in units)
        return summed * (1 + self.uneven * float(np.std(list(widths.values()))))

    def __call__(self, widths: Widths) -> list[float]:
        if widths not in self.measured:
            self.measured.append(widths)
        return [self.exact(widths)] * 8


def met(model: Model, budget: Budget, widths: Widths) -> bool:
    return all(constraint.met(widths) for constraint in model.problem.costs.constraints(budget))


@pytest.mark.parametrize(
    ("domain", "pinned", "texts"),
    [
        (ALIKE, {}, "7 6 5 4.5 4 3.5 3 2.5 2"),
        (WidthDomain.of_range(range(3, 5)), {}, "3.5 3"),
        (APART, {}, "7/14 6/12 5/10 4/8"),
        # What a pinned layer keeps from going down is told as far as it goes.
        (ALIKE, {"layer03": (8, 2)}, "7 6 5 4.5 4 3.5 3 2.8/2.5 2.8/2"),
        (APART, {name: (4, 16) for name in NAMES[:10]}, "7/14.1334 6/14.1334 5/14.1334 4/14.1334"),
    ],
)
def test_rungs_end_at_the_narrowest_widths(domain: WidthDomain, pinned: Widths, texts: str):
    model = Model(domain, pinned=pinned)
    assert [rung.text for rung in rungs(model.problem.space, model.problem.costs)] == texts.split()
    found = descend(model.problem, model)
    assert found.complete and [rung.budget for rung in found.rungs] == texts.split()
    for rung in found.rungs:
        assert all(met(model, Budget.parse(rung.budget), widths) for widths in rung.widths.values())
    narrowest = model.problem.costs.mean_bits(model.problem.space.narrowest)
    assert (found.steps[-1].mean_weight_bits, found.steps[-1].mean_activation_bits) == pytest.approx(narrowest)


KINDS = ("6.3", "4.5", "3.7", "2.2", "2", "3/6", "7/2.4", "2.1kB", "1.5kB", "60%", "20%", "0.000025GBOPs")


@pytest.mark.parametrize("text", KINDS)
def test_every_kind_of_budget_has_an_answer_near_the_best(text: str):
    model = Model()
    found, budget = descend(model.problem, model), Budget.parse(text)
    count = len(model.measured)
    answered = answer(model.problem, found, budget)
    assert len(model.measured) == count  # nothing more
    assert met(model, budget, answered.widths)
    # The table is right, so that the programme is the best that there is, and what is expected is what is.
    assert answered.divergence == pytest.approx(model.exact(answered.widths), rel=1e-6)
    for solver, divergence in answered.compared.items():
        assert divergence >= answered.divergence or solver == answered.solver
    assert answered.compared["greedy"] < 2 * answered.divergence
    if budget.kind == "bytes":
        assert {pair[1] for pair in answered.widths.values()} == {8}  # activations are free


@pytest.mark.parametrize(
    ("compared", "solver"),
    [
        ({"greedy": 1.0, "integer programme": 2.0, "uniform": 3.0}, "greedy"),
        ({"greedy": 2.0, "integer programme": 1.0, "uniform": 1.0}, "integer programme"),
        ({"greedy": 2.0, "integer programme": 1.0, "uniform": 0.95}, "integer programme"),  # noise
        ({"greedy": 2.0, "integer programme": 1.0, "uniform": 0.85}, "uniform"),
        ({"greedy": math.inf, "integer programme": math.inf, "uniform": 1.0}, "uniform"),
        ({"uniform": 1.0}, "uniform"),
    ],
)
def test_uniform_widths_must_be_better_by_more_than_noise(compared: dict[Solver, float], solver: Solver):
    assert best(compared) == solver


@pytest.mark.parametrize("text", ["3", "4", "3/5", "1.7kB"])
def test_uniform_widths_are_taken_where_mixed_ones_are_worse(text: str):
    model = Model(uneven=10.0)
    found, budget = descend(model.problem, model), Budget.parse(text)
    answered = answer(model.problem, found, budget)
    pairs = set(answered.widths.values())
    assert answered.solver == "uniform" and len(pairs) == 1 and met(model, budget, answered.widths)
    ((weights, activations),) = pairs
    for wider in ((weights + 1, activations), (weights, activations + 1)):
        assert max(wider) > 8 or not met(model, budget, dict.fromkeys(NAMES, wider))
    others = [divergence for solver, divergence in answered.compared.items() if solver != "uniform"]
    assert answered.divergence < 0.9 * min(others)
    if text in ("3", "4"):
        assert answered.divergence == pytest.approx(model.exact(answered.widths))


def test_where_the_table_errs_greedy_knows_better():
    """One unit costs far more than the table says: its step was measured, and so was what the programme makes of it."""
    model = Model(wrong={"layer11:weights": 300.0})
    found = descend(model.problem, model)
    for text in ("4", "3.7", "3.2", "3/5", "2kB"):
        answered = answer(model.problem, found, Budget.parse(text))
        misled = solve(model.problem.space, model.table, model.problem.costs.constraints(Budget.parse(text)))
        assert answered.solver == "greedy"
        assert model.exact(answered.widths) < 0.5 * model.exact(misled), text


class Cut:
    """The first measurements of a search alone."""

    def __init__(self, model: Model, count: int) -> None:
        self.known = model.measured[:count]
        self.model = model

    def __call__(self, widths: Widths) -> Sequence[float]:
        if widths not in self.known:
            raise NotMeasuredError
        return [self.model.exact(widths)] * 8


def test_wherever_it_was_interrupted_a_search_answers_as_a_finished_one_or_says_how_far_it_came():
    model = Model(wrong={"layer11:weights": 300.0, "layer02:activations": 0.1})
    whole = descend(model.problem, model)
    budgets = [Budget.parse(text) for text in KINDS[1::2]]
    answers = [answer(model.problem, whole, budget) for budget in budgets]
    before = 0
    for count in [*range(0, len(model.measured), 5), len(model.measured)]:
        part, answered = descend(model.problem, Cut(model, count)), 0
        assert part.complete == (count == len(model.measured))
        for budget, full in zip(budgets, answers, strict=True):
            try:
                assert answer(model.problem, part, budget) == full
                answered += 1
            except MptqError as error:
                assert "--resume" in str(error)
        assert answered >= before
        before = answered
    assert before == len(budgets)


def test_a_search_ends_at_the_first_rung_within_its_budgets():
    whole, model = Model(), Model()
    full = descend(whole.problem, whole)
    found = descend(model.problem, model, budgets=[Budget.parse("4.2"), Budget.parse("6/5")])
    assert [rung.budget for rung in found.rungs] == ["7", "6", "5", "4.5", "4"] and not found.complete
    assert found.rungs == full.rungs[:5] and len(model.measured) == found.rungs[-1].evaluations
    assert len(model.measured) < 0.75 * len(whole.measured)
    for text in ("4.2", "6/5", "5.5", "7/4"):
        assert answer(model.problem, found, Budget.parse(text)) == answer(whole.problem, full, Budget.parse(text))
    with pytest.raises(MptqError, match=r"3.7: the search went down .* down to 4; .* --mixed 3.7 and --resume added"):
        answer(model.problem, found, Budget.parse("3.7"))
    widest = descend(model.problem, model, budgets=[Budget.parse("9kB")])
    assert widest.rungs == [] and answer(model.problem, widest, Budget.parse("9kB")).widths == model.problem.space.start


@pytest.mark.parametrize("text", ["1.9", "2/1.5", "0.5kB", "1%"])
def test_what_no_widths_meet_is_refused_with_the_least(text: str):
    model = Model()
    with pytest.raises(MptqError, match=rf"{text} cannot be met: .* mean widths 2.00/2.00, about 0.00 MB"):
        answer(model.problem, descend(model.problem, model), Budget.parse(text))


def test_what_is_stored_is_what_was_searched():
    model = Model(APART, pinned={"layer05": (4, 16)})
    again = from_json(StoredProblem, json.loads(json.dumps(asdict(model.problem))))
    assert again == model.problem
    assert (again.space, again.costs, again.table) == (model.problem.space, model.problem.costs, model.table)
