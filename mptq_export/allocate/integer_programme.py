"""The same budget as an integer programme over the sensitivity table: the best widths if errors simply added up."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from mptq_export.allocate.constraint import Constraint
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Widths
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
    units, start, bits = space.units, space.start, space.bits
    choices = [(unit, b) for unit in units for b in bits]
    rows = [LinearConstraint(np.kron(np.eye(len(units)), np.ones(len(bits))), 1, 1)]
    for constraint in constraints:
        prices = np.array([constraint.price(unit, b) for unit, b in choices])
        moved = sum(constraint.price(unit, unit.bits(start)) for unit in units)
        most = constraint.most - (constraint.value(start) - moved)
        rows.append(LinearConstraint(prices[None], -np.inf, most))
    objective = np.array([table[unit.key, b] for unit, b in choices])
    objective /= objective.max() or 1.0  # the solver's tolerances are absolute
    with silent_stdout():  # HiGHS prints a line when it repairs a solution, whatever it is told
        result = milp(objective, constraints=rows, integrality=np.ones(len(choices)), bounds=Bounds(0, 1))
    if result.x is None:
        return start
    widths = dict(start)
    for unit, chosen in zip(units, result.x.reshape(len(units), -1).argmax(1), strict=True):
        widths = unit.applied(widths, bits[int(chosen)])
    return widths
