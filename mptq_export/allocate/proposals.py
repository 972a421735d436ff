"""What is proposed for a budget at once, beside the widths that greedy comes to step by step."""

from collections.abc import Iterator, Mapping
from itertools import product

from mptq_export.allocate.constraint import Constraint, met
from mptq_export.allocate.greedy_mp import NOISE
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.stored_problem import StoredProblem
from mptq_export.allocate.units import Widths
from mptq_export.recipe.settings import Solver


def proposals(problem: StoredProblem, constraints: list[Constraint]) -> dict[Solver, Widths]:
    """The widths that the estimates favour, and the widest uniform ones: below four bits estimates add up badly.

    Args:
        problem: what is searched.
        constraints: the budget.

    Returns:
        Widths of all layers by who proposes them; only those within the budget.
    """
    uniform = min(_uniform(problem.space), key=lambda widths: (not met(constraints, widths), problem.summed(widths)))
    found: dict[Solver, Widths] = {
        "integer programme": solve(problem.space, problem.table, constraints),
        "uniform": uniform,
    }
    return {solver: widths for solver, widths in found.items() if met(constraints, widths)}


def best(compared: Mapping[Solver, float]) -> Solver:
    """Whose widths are taken; uniform ones where they are better by more than noise: mixed ones use the whole budget.

    Args:
        compared: divergence by solver, uniform last; one that has no widths is not there, or has infinity. Not empty.
    """
    return min(compared, key=lambda solver: compared[solver] / (1 - NOISE if solver == "uniform" else 1))


def _uniform(space: SearchSpace) -> Iterator[Widths]:
    """One width of weights and one of activations for all that moves, for every pair of them."""
    together = any(unit.side == "both" for unit in space.units)
    for weights, activations in product(space.domain.weights, space.domain.activations):
        if weights == activations or not together:
            yield space.uniform(weights, activations)
