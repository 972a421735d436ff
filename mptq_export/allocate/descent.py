"""Greedy MP from the widest widths down, and beside it, at fixed mean widths, the rungs, what is proposed for them.

No budget of a user is among what is measured: budgets decide how far down it goes, and nothing else. So any wider one
can be answered afterwards (`answer.py`). The rungs are there for that: what lies between two is judged by both. What is
proposed is in `proposals.py`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import as_limit, met
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.greedy_mp import greedy
from mptq_export.allocate.proposals import best, proposals
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.stored_problem import StoredProblem
from mptq_export.allocate.units import Widths
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.recipe.settings import Solver

#: Below it rungs are half a bit apart, above it a whole one: where little is lost, little is to be known.
_FINE = 5

#: A mean that no widths undercut is told to so many parts of a bit; sums of floats err by less than the other.
_PLACES, _EXACT = 10_000, 1e-9

#: Rungs where weights and activations have other widths to choose from, at equal shares of both.
_OTHERWISE = 4


class NotMeasuredError(Exception):
    """What is asked for is not among the measurements of an interrupted search."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What some widths cost, and what they do to the outputs.

    Attributes:
        mean_weight_bits: by parameters.
        mean_activation_bits: by multiply-accumulates.
        gbops: 1e9 multiply-accumulate-bits of an image.
        file_bytes: estimated size of the file; None where sizes were not measured.
        latency_ms: estimated time of an image; None where times were not measured.
        divergence: mean divergence of the outputs on the search images, with the search's quantizers.
    """

    mean_weight_bits: float
    mean_activation_bits: float
    gbops: float
    file_bytes: float | None = None
    latency_ms: float | None = None
    divergence: float


@dataclass(frozen=True, kw_only=True)
class FrontPoint(Point):
    """One accepted step of the search: what it lowered, and what the widths after it cost.

    Attributes:
        lowered: the new width of every unit that was lowered, by key, in the order in which they were.
    """

    lowered: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Rung(Point):
    """A budget that every search measures: the best of what the solvers have for it.

    Attributes:
        budget: mean widths, as `--mixed` and `--pick` take them.
        solver: which one has the costs and the divergence of this point.
        steps: how many steps lead to the widths that greedy has here.
        compared: the divergence that each has; one that has no widths within the budget is not there.
        widths: theirs, of every layer; greedy's are its steps.
        evaluations: different candidates that were measured so far.
    """

    budget: str
    solver: Solver
    steps: int
    compared: dict[Solver, float]
    widths: dict[Solver, Widths]
    evaluations: int


@dataclass
class Descent:
    """How far a search has come.

    Attributes:
        start: the divergence at the widest widths; None where that is not measured.
        steps: every accepted step.
        rungs: those that were reached and measured.
        evaluations: different candidates that were measured.
        complete: whether there is nothing narrower: then every budget that some widths meet has an answer.
    """

    start: float | None = None
    steps: list[FrontPoint] = field(default_factory=list)
    rungs: list[Rung] = field(default_factory=list)
    evaluations: int = 0
    complete: bool = False


def rungs(space: SearchSpace, costs: Costs) -> list[Budget]:
    """The budgets that are measured, the widest first; the last is what the narrowest widths have.

    A side that cannot come so far, as layers are pinned, has the least that it can have.
    """
    least = costs.mean_bits(space.narrowest)
    found: dict[str, Budget] = {}
    for asked in _means(space.domain):
        means = [mean if mean >= low - _EXACT else _rounded_up(low) for mean, low in zip(asked, least, strict=True)]
        text = "/".join(
            f"{mean:.10g}" for mean in (means[:1] if means[0] == means[1] and space.domain.alike else means)
        )
        found[text] = Budget.parse(text)
    return list(found.values())


def _means(domain: WidthDomain) -> Iterator[tuple[float, float]]:
    """Mean widths of weights and activations, from wide to narrow."""
    sides = [*zip(domain.highest, domain.lowest, strict=True)]
    if domain.alike:
        high, low = sides[0]
        for half in range(2 * high - 1, 2 * low - 1, -1):
            if half % 2 == 0 or half < 2 * _FINE:
                yield half / 2, half / 2
        return
    for number in range(1, _OTHERWISE + 1):
        weights, activations = (high - number / _OTHERWISE * (high - low) for high, low in sides)
        yield weights, activations


def _rounded_up(mean: float) -> float:
    return math.ceil(mean * _PLACES) / _PLACES


def descend(
    problem: StoredProblem,
    measure: Callable[[Widths], Sequence[float]],
    tick: Callable[[Point], None] = lambda _point: None,
    budgets: Sequence[Budget] | None = None,
) -> Descent:
    """Search, or go through a search again whose measurements are known.

    Args:
        problem: what moves, and the estimates.
        measure: the divergence of every image at some widths, or one number for all; it ends the descent by
            `NotMeasuredError`.
        tick: called after every accepted step and every rung.
        budgets: it ends at the first rung within all of them, as what is narrower changes no answer to them; None: at
            the narrowest widths.

    Returns:
        All that was found: the same for the same measurements.
    """
    found = Descent()
    with suppress(NotMeasuredError):
        found.complete = _descend(problem, measure, tick, budgets, found)
    return found


def _descend(
    problem: StoredProblem,
    measure: Callable[[Widths], Sequence[float]],
    tick: Callable[[Point], None],
    asked_for: Sequence[Budget] | None,
    found: Descent,
) -> bool:
    """Fill `found`; whether it came to the narrowest widths."""
    space, costs, asked = problem.space, problem.costs, set[tuple[tuple[int, int], ...]]()

    def counted(widths: Widths) -> Sequence[float]:
        images = measure(widths)
        asked.add(tuple(widths.values()))
        found.evaluations = len(asked)
        return images

    enough = [] if asked_for is None else [each for budget in asked_for for each in costs.constraints(budget)]
    budgets = rungs(space, costs)
    limits = [as_limit(costs.constraints(budget), space) for budget in budgets]
    widths = space.start
    found.start = divergence = fmean(counted(widths))
    if asked_for is not None and met(enough, widths):
        return False
    for step in greedy(space, problem.table, counted, limits, problem.scale):
        if step is not None:
            widths, divergence = step.widths, step.divergence
            found.steps.append(FrontPoint(lowered=step.lowered, divergence=divergence, **costs.describe(widths)))
            tick(found.steps[-1])
            continue
        budget = budgets[len(found.rungs)]
        proposed = proposals(problem, costs.constraints(budget))
        compared: dict[Solver, float] = {"greedy": divergence}
        compared |= {solver: fmean(counted(each)) for solver, each in proposed.items()}
        taken = best(compared)
        rung = Rung(
            budget=budget.text,
            solver=taken,
            steps=len(found.steps),
            compared=compared,
            widths=proposed,
            evaluations=found.evaluations,
            divergence=compared[taken],
            **costs.describe(proposed.get(taken, widths)),
        )
        found.rungs.append(rung)
        tick(rung)
        if asked_for is not None and met(enough, widths):
            return len(found.rungs) == len(budgets)
    return True
