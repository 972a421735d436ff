"""The integer programme against all combinations."""

import itertools

import numpy as np
import pytest

from mptq_export.allocate.constraint import Constraint
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit, Widths
from mptq_export.allocate.width_domain import WidthDomain

BITS = range(3, 7)
UNITS = [
    Unit("a", "weights", 10, 0),
    Unit("a", "activations", 0, 30),
    Unit("b", "both", 25, 50),
    Unit("c", "activations", 0, 20),
    Unit("d", "weights", 40, 0),
]
START: Widths = {"a": (6, 6), "b": (6, 6), "c": (6, 6), "d": (6, 6), "pinned": (8, 2)}
SPACE = SearchSpace(UNITS, START, WidthDomain.of_range(BITS))


def table(seed: int) -> dict[tuple[str, int], float]:
    generator = np.random.default_rng(seed)
    found = {}
    for unit in UNITS:
        rises = generator.exponential(1.0, len(BITS)).cumsum()
        found |= {(unit.key, b): float(value) for b, value in zip(reversed(BITS), rises, strict=True)}
    return found


def constraints(mean: float) -> list[Constraint]:
    def prices(what: str) -> dict[tuple[str, int], float]:
        return {(u.layer, b): float(getattr(u, what) * b) for u in UNITS for b in range(2, 9) if getattr(u, what)}

    return [Constraint(prices("parameters"), {}, mean * 75), Constraint({}, prices("macs"), mean * 100)]


def cost(widths: Widths, estimates: dict[tuple[str, int], float]) -> float:
    return sum(estimates[unit.key, unit.bits(widths)] for unit in UNITS)


def within(widths: Widths, mean: float) -> bool:
    return all(constraint.met(widths) for constraint in constraints(mean))


@pytest.mark.parametrize("mean", [3, 3.5, 4.2, 5, 6])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_better(seed: int, mean: float):
    estimates = table(seed)
    best = float("inf")
    for choice in itertools.product(BITS, repeat=len(UNITS)):
        widths = START
        for unit, bits in zip(UNITS, choice, strict=True):
            widths = unit.applied(widths, bits)
        if within(widths, mean):
            best = min(best, cost(widths, estimates))
    found = solve(SPACE, estimates, constraints(mean))
    assert within(found, mean)
    assert cost(found, estimates) == pytest.approx(best)
    assert found["pinned"] == (8, 2)
    assert list(found) == list(START)


def test_what_does_not_move_costs_too():
    """A pinned layer takes its part of the budget."""
    prices = {(unit.layer, bits): float(bits) for unit in UNITS for bits in range(2, 9)} | {("pinned", 8): 5.0}
    tight = solve(SPACE, table(0), [Constraint(prices, {}, 20.0)])
    assert 18 < Constraint(prices, {}, 20.0).value(tight) <= 20
    assert solve(SPACE, table(0), [Constraint(prices, {}, 16.0)]) == START  # 3 * 4 + 5 is more


def test_a_budget_that_cannot_be_met():
    assert solve(SPACE, table(0), constraints(2.9)) == START
