"""The widths of one budget, out of what a search measured: nothing is measured for it.

Both solvers answer. Greedy's widths are its steps as far as the budget wants them, the programme's come from the table
as the steps corrected it. What each would have in true divergence is read off its rungs, between them by the sum of the
estimates, and the better one is taken. At a rung itself both are what was measured there. Only what was measured down
to the first rung within the budget counts, so that an interrupted search answers as a finished one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import Constraint, as_limit, cheapest
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.descent import Descent, FrontPoint, Rung, corrected
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.stored_problem import StoredProblem
from mptq_export.allocate.units import Widths
from mptq_export.recipe.settings import Solver
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class FoundWidths:
    """What a search has for one budget.

    Attributes:
        budget: the budget.
        widths: of all layers.
        divergence: mean divergence that is expected of them on the search images, with the search's quantizers; what
            was measured where the budget is a rung.
        solver: whichever has less.
        compared: that of both; infinite where a solver has no widths within the budget.
        evaluations: different candidates that were measured down to the first rung within the budget.
    """

    budget: Budget
    widths: Widths
    divergence: float
    solver: Solver
    compared: dict[Solver, float]
    evaluations: int


def answer(problem: StoredProblem, found: Descent, budget: Budget) -> FoundWidths:
    """The widths of a budget.

    Args:
        problem: what was searched.
        found: what was measured.
        budget: of any kind.

    Raises:
        MptqError: no widths meet it, or the search was interrupted before it came so far.
    """
    check_possible(problem.costs, problem.space, budget)
    space, constraints = problem.space, problem.costs.constraints(budget)
    path = _path(problem, found.steps)
    rungs = _down_to(path, found, budget, constraints)
    table = corrected(space, problem.table, rungs[-1].factors if rungs else {})
    start = [(space.start, found.start or 0.0)]
    curves: dict[Solver, list[tuple[Widths, float]]] = {
        "greedy": start + [(path[rung.steps], rung.greedy) for rung in rungs],
        "integer programme": start + [(rung.widths, rung.programme) for rung in rungs if rung.programme is not None],
    }
    steps = found.steps[: rungs[-1].steps] if rungs else []
    widths: dict[Solver, Widths] = {
        "greedy": _walked(problem, steps, constraints),
        "integer programme": solve(space, table, constraints),
    }
    compared = {
        solver: _read_off(problem, table, curves[solver], each) if _met(constraints, each) else math.inf
        for solver, each in widths.items()
    }
    solver: Solver = "integer programme" if compared["integer programme"] < compared["greedy"] else "greedy"
    evaluations = rungs[-1].evaluations if rungs else 1
    if math.isinf(compared[solver]):  # what no step leads to, such as small weights that take less at a wider width
        least = cheapest(constraints, space)
        compared[solver] = _read_off(problem, table, curves[solver], least)
        return FoundWidths(budget, least, compared[solver], solver, compared, evaluations)
    return FoundWidths(budget, widths[solver], compared[solver], solver, compared, evaluations)


def check_possible(costs: Costs, space: SearchSpace, budget: Budget) -> None:
    """Refuse a budget that no widths meet.

    Raises:
        MptqError: it is so; it names the least that there is.
    """
    constraints = costs.constraints(budget)
    bottom = cheapest(constraints, space)
    if _met(constraints, bottom):
        return
    least = costs.describe(bottom)
    has = f"mean widths {least['mean_weight_bits']:.2f}/{least['mean_activation_bits']:.2f}"
    has += f", about {least['file_bytes'] / 1e6:.2f} MB"
    has += f", {costs.operations_text(bottom)}"
    if budget.kind != "latency":
        raise budget.not_met(space.domain, has)
    remedy = "raise the budget: fewer bits make a smaller file, not a faster one, in onnxruntime"
    raise budget.not_met(space.domain, f"{has} and {least['latency_ms']:.1f} ms", remedy)


def _met(constraints: Sequence[Constraint], widths: Widths) -> bool:
    return all(constraint.met(widths) for constraint in constraints)


def _path(problem: StoredProblem, steps: Sequence[FrontPoint]) -> list[Widths]:
    """All widths after every number of steps."""
    units, found = {unit.key: unit for unit in problem.space.units}, [problem.space.start]
    for step in steps:
        widths = found[-1]
        for key, bits in step.lowered.items():
            widths = units[key].applied(widths, bits)
        found.append(widths)
    return found


def _down_to(
    path: Sequence[Widths], found: Descent, budget: Budget, constraints: Sequence[Constraint]
) -> Sequence[Rung]:
    """The rungs that count for a budget: down to the first one within it.

    Raises:
        MptqError: the search was interrupted before it.
    """
    if found.start is not None and _met(constraints, path[0]):
        return []
    for number, rung in enumerate(found.rungs):
        if _met(constraints, path[rung.steps]):
            return found.rungs[: number + 1]
    if found.complete:
        return found.rungs
    raise MptqError(f"{budget.option} {budget.text}: the search was interrupted {reached_text(found)}")


def reached_text(found: Descent) -> str:
    """How far an interrupted search came, what it can answer, and what is missing."""
    remedy = "the rest is not measured: go on with the search's own command and --resume"
    if not found.rungs:
        return f"before it could answer any budget; {remedy}"
    last = found.rungs[-1]
    size = "" if last.file_bytes is None else f", {last.file_bytes / 1e6:.2f} MB"
    means = f"{last.mean_weight_bits:.2f}/{last.mean_activation_bits:.2f}"
    return f"at mean widths {means}{size}, and answers budgets down to {last.budget}; {remedy}"


def _walked(problem: StoredProblem, steps: Sequence[FrontPoint], constraints: list[Constraint]) -> Widths:
    """Greedy's widths: its steps, but for those that bring nothing, until a budget is met or there are no more."""
    space = problem.space
    limit, units, widths = as_limit(constraints, space), {unit.key: unit for unit in space.units}, space.start
    for key, bits in (lowered for step in steps for lowered in step.lowered.items()):
        if limit.met(widths):
            break
        if limit.gain(units[key], widths) > 0:
            widths = units[key].applied(widths, bits)
    return widths


def _read_off(
    problem: StoredProblem, table: SensitivityTable, curve: Sequence[tuple[Widths, float]], widths: Widths
) -> float:
    """The divergence that widths are expected to have, by the sum of their estimates.

    Args:
        problem: what was searched.
        table: its estimates.
        curve: widths, and what was measured there.
        widths: of all layers.
    """
    known = sorted((problem.summed(each, table), divergence) for each, divergence in curve)
    sums, divergences = zip(*known, strict=True)
    summed = problem.summed(widths, table)
    if summed > sums[-1] > 0:
        return float(divergences[-1] * summed / sums[-1])
    return float(np.interp(summed, sums, divergences))
