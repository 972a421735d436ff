"""The integer programme against all combinations."""

import itertools

import numpy as np
import pytest

from mptq_export.allocate.solver import solve
from mptq_export.allocate.units import Unit, Widths

BITS = range(3, 7)
UNITS = [
    Unit("a", "weights", 10, 0),
    Unit("a", "activations", 0, 30),
    Unit("b", "both", 25, 50),
    Unit("c", "activations", 0, 20),
    Unit("d", "weights", 40, 0),
]
START: Widths = {"a": (6, 6), "b": (6, 6), "c": (6, 6), "d": (6, 6), "pinned": (8, 2)}


def table(seed: int) -> dict[tuple[str, int], float]:
    generator = np.random.default_rng(seed)
    found = {}
    for unit in UNITS:
        rises = generator.exponential(1.0, len(BITS)).cumsum()
        found |= {(unit.key, b): float(value) for b, value in zip(reversed(BITS), rises, strict=True)}
    return found


def rows(mean: float) -> list[tuple[list[float], float]]:
    return [
        ([float(getattr(u, what)) for u in UNITS], mean * total) for what, total in (("parameters", 75), ("macs", 100))
    ]


def cost(widths: Widths, estimates: dict[tuple[str, int], float]) -> float:
    return sum(estimates[unit.key, unit.bits(widths)] for unit in UNITS)


def within(widths: Widths, mean: float) -> bool:
    return all(sum(c * u.bits(widths) for c, u in zip(one, UNITS, strict=True)) <= most for one, most in rows(mean))


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
    found = solve(UNITS, estimates, START, BITS, rows(mean))
    assert within(found, mean)
    assert cost(found, estimates) == pytest.approx(best)
    assert found["pinned"] == (8, 2)
    assert list(found) == list(START)


def test_a_budget_that_cannot_be_met():
    assert solve(UNITS, table(0), START, BITS, rows(2.9)) == START
