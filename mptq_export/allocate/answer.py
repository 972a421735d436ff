"""The widths of one budget, out of what a search measured: nothing is measured for it.

All solvers answer. Greedy's widths are its steps as far as the budget wants them, the others' come from the table
(`proposals.py`). What each would have in true divergence is read off its rungs, between them by the sum of the
estimates, and the best one is taken. At a rung itself all are what was measured there. Only what was measured down
to the first rung within the budget counts, so that an interrupted search answers as a finished one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import Constraint, as_limit, cheapest, met
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.descent import Descent, FrontPoint
from mptq_export.allocate.proposals import best, proposals
from mptq_export.allocate.search_space import SearchSpace
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
        solver: whose they are; see `proposals.best`.
        compared: that of all; infinite where a solver has no widths within the budget.
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
    known = _down_to(problem, path, found, budget)
    widths = proposals(problem, constraints)
    walked = _walked(problem, known.steps, constraints)
    if met(constraints, walked):
        widths = {"greedy": walked, **widths}
    compared: dict[Solver, float] = dict.fromkeys(get_args(Solver), math.inf)
    compared |= {solver: _read_off(problem, known.curves[solver], each) for solver, each in widths.items()}
    solver = best(compared)
    if math.isinf(compared[solver]):  # what no step leads to, such as small weights that take less at a wider width
        widths[solver] = cheapest(constraints, space)
        compared[solver] = _read_off(problem, known.curves[solver], widths[solver])
    return FoundWidths(budget, widths[solver], compared[solver], solver, compared, known.evaluations)


def check_possible(costs: Costs, space: SearchSpace, budget: Budget) -> None:
    """Refuse a budget that no widths meet.

    Raises:
        MptqError: it is so; it names the least that there is.
    """
    constraints = costs.constraints(budget)
    bottom = cheapest(constraints, space)
    if met(constraints, bottom):
        return
    least = costs.describe(bottom)
    has = f"mean widths {least['mean_weight_bits']:.2f}/{least['mean_activation_bits']:.2f}"
    has += f", about {least['file_bytes'] / 1e6:.2f} MB"
    has += f", {costs.operations_text(bottom)}"
    if budget.kind != "latency":
        raise budget.not_met(space.domain, has)
    remedy = "raise the budget: fewer bits make a smaller file, not a faster one, in onnxruntime"
    raise budget.not_met(space.domain, f"{has} and {least['latency_ms']:.1f} ms", remedy)


def _path(problem: StoredProblem, steps: Sequence[FrontPoint]) -> list[Widths]:
    """All widths after every number of steps."""
    units, found = {unit.key: unit for unit in problem.space.units}, [problem.space.start]
    for step in steps:
        widths = found[-1]
        for key, bits in step.lowered.items():
            widths = units[key].applied(widths, bits)
        found.append(widths)
    return found


@dataclass(frozen=True)
class _Known:
    """What counts for a budget.

    Attributes:
        steps: those that greedy took.
        curves: for each solver widths, and what was measured there.
        evaluations: different candidates that were measured.
    """

    steps: Sequence[FrontPoint]
    curves: dict[Solver, list[tuple[Widths, float]]]
    evaluations: int


def _down_to(problem: StoredProblem, path: Sequence[Widths], found: Descent, budget: Budget) -> _Known:
    """What was measured down to the first rung within a budget; all of it where none is.

    Args:
        problem: what was searched.
        path: the widths after every number of steps.
        found: what was measured.
        budget: some widths meet it.

    Raises:
        MptqError: the search was interrupted before it.
    """
    constraints = problem.costs.constraints(budget)
    if found.start is not None and met(constraints, path[0]):
        return _Known([], {solver: [(path[0], found.start)] for solver in get_args(Solver)}, 1)
    within = (number for number, rung in enumerate(found.rungs, 1) if met(constraints, path[rung.steps]))
    count = next(within, None)
    if found.start is None or (count is None and not found.complete):
        raise MptqError(f"{budget.option} {budget.text}: {_reached_text(found, budget)}")
    rungs = found.rungs[:count]
    curves: dict[Solver, list[tuple[Widths, float]]] = {solver: [(path[0], found.start)] for solver in get_args(Solver)}
    for rung in rungs:
        for solver, divergence in rung.compared.items():
            curves[solver].append((rung.widths.get(solver, path[rung.steps]), divergence))
    return _Known(
        found.steps if count is None else found.steps[: rungs[-1].steps],
        curves,
        found.evaluations if count is None else rungs[-1].evaluations,
    )


def _reached_text(found: Descent, budget: Budget) -> str:
    """How far a search came, what it can answer, and how it goes on."""
    if found.start is None:
        return "the search was interrupted before it measured anything; go on with its own command and --resume"
    remedy = f"to go on from there, give its own command again with --mixed {budget.text} and --resume added"
    if not found.rungs:
        return f"the search measured the widest widths alone; {remedy}"
    last = found.rungs[-1]
    size = "" if last.file_bytes is None else f", {last.file_bytes / 1e6:.2f} MB"
    means = f"{last.mean_weight_bits:.2f}/{last.mean_activation_bits:.2f}"
    return (
        f"the search went down to mean widths {means}{size} and answers budgets down to {last.budget}; what is "
        f"narrower is not measured: {remedy}"
    )


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


def _read_off(problem: StoredProblem, curve: Sequence[tuple[Widths, float]], widths: Widths) -> float:
    """The divergence that widths are expected to have, by the sum of their estimates.

    Args:
        problem: what was searched.
        curve: widths, and what was measured there.
        widths: of all layers.
    """
    known = sorted((problem.summed(each), divergence) for each, divergence in curve)
    sums, divergences = zip(*known, strict=True)
    summed = problem.summed(widths)
    if summed > sums[-1] > 0:
        return float(divergences[-1] * summed / sums[-1])
    return float(np.interp(summed, sums, divergences))
