"""The same budget as an integer programme over the sensitivity table: the best widths if errors simply added up."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from mptq_export.allocate.sensitivity import Table
from mptq_export.allocate.units import Unit, Widths


def solve(units: list[Unit], table: Table, start: Widths, bits: range, rows: list[tuple[list[float], float]]) -> Widths:
    """Minimise the summed estimate.

    Args:
        units: what moves.
        table: estimated divergence of every unit and width.
        start: widths of all layers; those of layers without a unit stand.
        bits: the widths, rising.
        rows: budgets: (cost of one bit of every unit, largest sum).

    Returns:
        Widths of all layers; `start` where no choice is within the budgets.
    """
    count, levels = len(units), list(bits)
    variables = count * len(levels)
    objective = np.array([table[unit.key, b] for unit in units for b in levels])
    one = np.kron(np.eye(count), np.ones(len(levels)))
    constraints = [LinearConstraint(one, 1, 1)]
    for costs, most in rows:
        constraints.append(LinearConstraint(np.kron(np.array(costs), np.array(levels, float))[None], -np.inf, most))
    result = milp(objective, constraints=constraints, integrality=np.ones(variables), bounds=Bounds(0, 1))
    if result.x is None:
        return start
    widths = dict(start)
    for unit, chosen in zip(units, result.x.reshape(count, -1).argmax(1), strict=True):
        widths = unit.applied(widths, levels[int(chosen)])
    return widths
