"""The same budget as an integer programme over the sensitivity table: the best widths if errors simply added up."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from mptq_export.allocate.constraint import Constraint
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Unit, Widths
from mptq_export.support.silence import silent_stdout


def solve(space: SearchSpace, table: SensitivityTable, constraints: list[Constraint]) -> Widths:
    """Minimise the summed estimate.

    Args:
        space: what moves, between which widths.
        table: estimated divergence of every unit and width.
        constraints: the budget.

    Returns:
        Widths of all layers; those of the start where no choice is within the budget.
    """
    start = space.start
    groups = _grouped(space.units, jointly=any(constraint.joint is not None for constraint in constraints))
    options = [list(product(*(space.widths(unit) for unit in group))) for group in groups]
    choices = [(group, bits) for group, each in zip(groups, options, strict=True) for bits in each]
    rows = [LinearConstraint(_one_each([len(each) for each in options]), 1, 1)]
    for constraint in constraints:
        prices = np.array([_price(constraint, group, bits, start) for group, bits in choices])
        moved = sum(_price(constraint, group, [unit.bits(start) for unit in group], start) for group in groups)
        most = constraint.most - (constraint.value(start) - moved)
        rows.append(LinearConstraint(prices[None], -np.inf, most))
    objective = np.array(
        [sum(table[unit.key, b] for unit, b in zip(group, bits, strict=True)) for group, bits in choices]
    )
    objective /= np.abs(objective).max() or 1.0  # the solver's tolerances are absolute
    with silent_stdout():  # HiGHS prints a line when it repairs a solution, whatever it is told
        result = milp(objective, constraints=rows, integrality=np.ones(len(choices)), bounds=Bounds(0, 1))
    if result.x is None:
        return start
    widths, first = dict(start), 0
    for group, each in zip(groups, options, strict=True):
        chosen = each[int(result.x[first : first + len(each)].argmax())]
        first += len(each)
        for unit, bits in zip(group, chosen, strict=True):
            widths |= unit.given(widths, bits)
    return widths


def _grouped(units: Sequence[Unit], *, jointly: bool) -> list[list[Unit]]:
    """What is chosen at once: every unit by itself, or both sides of a layer where they cost together."""
    groups: dict[str, list[Unit]] = {}
    for unit in units:
        groups.setdefault(unit.layer if jointly else unit.key, []).append(unit)
    return list(groups.values())


def _one_each(counts: list[int]) -> NDArray[np.float64]:
    """A row for every group, with ones at its options."""
    return np.repeat(np.eye(len(counts)), counts, axis=1)


def _price(constraint: Constraint, group: list[Unit], bits: Sequence[int], start: Widths) -> float:
    """What the units of a group cost at some widths."""
    if constraint.joint is None:
        return sum(constraint.price(unit, b, start) for unit, b in zip(group, bits, strict=True))
    widths = start
    for unit, b in zip(group, bits, strict=True):
        widths = unit.applied(widths, b)
    return sum(constraint.of_layer(name, widths[name]) for name in group[0].calls)
