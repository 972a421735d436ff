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


@pytest.mark.parametrize("most", [0.3, 0.45, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_better_where_both_sides_cost_together(seed: int, most: float):
    """Products of both widths, as in BOPs; weights and activations have other widths to choose from."""
    domain = WidthDomain((4, 8), (8, 16))
    moving = [Unit(layer, side, 1, 1) for layer in "abc" for side in ("weights", "activations")]  # type: ignore[arg-type]
    start: Widths = {"a": (8, 16), "b": (8, 16), "c": (8, 16), "pinned": (8, 8)}
    space = SearchSpace(moving, start, domain)
    macs = {"a": 10, "b": 25, "c": 40, "pinned": 5}
    generator = np.random.default_rng(seed)
    estimates = {}
    for unit in moving:
        low, high = sorted(generator.exponential(1.0, 2), reverse=True)
        estimates |= dict(zip([(unit.key, b) for b in space.widths(unit)], [low, high], strict=True))
    total = sum(macs[layer] * pair[0] * pair[1] for layer, pair in start.items())
    joint = Constraint({}, {}, most * total, lambda layer, pair: float(macs[layer] * pair[0] * pair[1]))

    def summed(widths: Widths) -> float:
        return sum(estimates[unit.key, unit.bits(widths)] for unit in moving)

    best = float("inf")
    for choice in itertools.product(*(space.widths(unit) for unit in moving)):
        widths = start
        for unit, bits in zip(moving, choice, strict=True):
            widths = unit.applied(widths, bits)
        if joint.met(widths):
            best = min(best, summed(widths))
    found = solve(space, estimates, [joint])
    assert joint.met(found)
    assert summed(found) == pytest.approx(best)
    assert found["pinned"] == (8, 8)


def test_what_does_not_move_costs_too():
    """A pinned layer takes its part of the budget."""
    prices = {(unit.layer, bits): float(bits) for unit in UNITS for bits in range(2, 9)} | {("pinned", 8): 5.0}
    tight = solve(SPACE, table(0), [Constraint(prices, {}, 20.0)])
    assert 18 < Constraint(prices, {}, 20.0).value(tight) <= 20
    assert solve(SPACE, table(0), [Constraint(prices, {}, 16.0)]) == START  # 3 * 4 + 5 is more


def test_a_budget_that_cannot_be_met():
    assert solve(SPACE, table(0), constraints(2.9)) == START
