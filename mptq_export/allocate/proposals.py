"""What is proposed for a budget at once, beside the widths that greedy comes to step by step."""

from collections.abc import Iterator, Mapping

from mptq_export.allocate.constraint import Constraint
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
    uniform = min(_uniform(problem.space), key=lambda widths: (not _met(constraints, widths), problem.summed(widths)))
    found: dict[Solver, Widths] = {
        "integer programme": solve(problem.space, problem.table, constraints),
        "uniform": uniform,
    }
    return {solver: widths for solver, widths in found.items() if _met(constraints, widths)}


def best(compared: Mapping[Solver, float]) -> Solver:
    """Whose widths are taken; uniform ones where they are better by more than noise: mixed ones use the whole budget.

    Args:
        compared: divergence by solver; without one that has no widths, or with infinity. Not empty.
    """
    least = min(compared, key=lambda solver: compared[solver])
    others = {solver: divergence for solver, divergence in compared.items() if solver != "uniform"}
    if least != "uniform" or not others:
        return least
    mixed = min(others, key=lambda solver: others[solver])
    return least if compared[least] < (1 - NOISE) * others[mixed] else mixed


def _uniform(space: SearchSpace) -> Iterator[Widths]:
    """All that moves at one width of weights and one of activations, for every pair of them."""
    for weights in space.domain.weights:
        for activations in space.domain.activations:
            widths = space.start
            for unit in space.units:
                widths = unit.applied(widths, activations if unit.side == "activations" else weights)
            if all(unit.side != "both" for unit in space.units) or weights == activations:
                yield widths


def _met(constraints: list[Constraint], widths: Widths) -> bool:
    return all(constraint.met(widths) for constraint in constraints)
