"""Greedy MP from a calibrated model: one search, and widths per budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import as_limit, cheapest
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.expected import STEPS, second_looks, steps
from mptq_export.allocate.greedy_mp import greedy
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.journal import Journal
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.quantized_base import rebased, sum_errs
from mptq_export.allocate.rehearsal import Rehearsal
from mptq_export.allocate.searchable import Problem
from mptq_export.allocate.units import Widths
from mptq_export.recipe.settings import Solver
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import SILENT, Progress


@dataclass(frozen=True)
class FoundWidths:
    """What the search found for one budget.

    Attributes:
        budget: the budget.
        widths: widths of all layers.
        divergence: mean divergence on the search images, with the quantizers that it was compared with.
        solver: whichever was better; `quantized base` where that found better ones.
        compared: the divergence of greedy and programme with the quantizers of the catalogue; or that of the better one
            and of what its base led to, each with quantizers that were chosen for it.
    """

    budget: Budget
    widths: Widths
    divergence: float
    solver: Solver
    compared: dict[Solver, float]


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """One accepted step of the search: what it lowered, and what the widths after it cost.

    Attributes:
        lowered: the new width of every unit that was lowered, by key.
        mean_weight_bits: by parameters.
        mean_activation_bits: by multiply-accumulates.
        file_bytes: estimated size of the file; None where sizes were not measured.
        gbops: 1e9 multiply-accumulate-bits of an image.
        latency_ms: estimated time of an image; None where times were not measured.
        divergence: mean divergence of the outputs on the search images, with the catalogue's quantizers.
    """

    lowered: dict[str, int]
    mean_weight_bits: float
    mean_activation_bits: float
    gbops: float
    file_bytes: float | None = None
    latency_ms: float | None = None
    divergence: float


@dataclass(frozen=True)
class TradeOff:
    """The trade-off between costs and divergence, and the widths that it has for every budget.

    Attributes:
        costs: what widths cost, in time too.
        found: one result per budget, in the order of the budgets.
        front: every accepted step.
        evaluations: different candidates that were measured.
    """

    costs: Costs
    found: list[FoundWidths]
    front: tuple[FrontPoint, ...]
    evaluations: int


@dataclass(frozen=True)
class SearchResult(TradeOff):
    """That of one model.

    Attributes:
        problem: what was solved.
    """

    problem: AllocationProblem

    @staticmethod
    def of(problem: AllocationProblem, found: TradeOff) -> "SearchResult":
        """A trade-off with its problem."""
        return SearchResult(found.costs, found.found, found.front, found.evaluations, problem)

    def bits_text(self, found: FoundWidths) -> str:
        """The widths of one result in a few words."""
        weights, activations = self.costs.mean_bits(found.widths)
        of_operations = found.budget.kind in ("operations", "operations share")
        more = f", {self.costs.operations_text(found.widths)}" if of_operations else ""
        return f"mixed {found.budget.text}: mean {weights:.2f}/{activations:.2f}{more}"

    def estimates(self, found: FoundWidths) -> dict[str, float]:
        """What the width of every unit costs by itself, in divergence of the outputs."""
        table, units = self.problem.table, self.problem.space.units
        return {unit.key: table[unit.key, unit.bits(found.widths)] for unit in units}


def search(
    problem: AllocationProblem,
    journal: Path,
    *,
    resume: bool,
    progress: Progress = SILENT,
) -> SearchResult:
    """`trade_off` of one model, with it."""
    return SearchResult.of(problem, trade_off(problem, journal, resume=resume, progress=progress))


def trade_off(
    problem: Problem,
    journal: Path,
    *,
    resume: bool,
    progress: Progress = SILENT,
) -> TradeOff:
    """Find widths for every budget.

    Args:
        problem: what to solve.
        journal: file that keeps every measurement.
        resume: go on from the journal, if it is of this search.
        progress: hears of every accepted step, and how long it may go on.

    Raises:
        MptqError: a budget is below what the range allows, or the journal is of another search.
    """
    budgets, costs = problem.settings.budgets, problem.costs
    for budget in budgets:
        if budget.kind != "latency":  # refused before anything else is computed
            _check_possible(problem, budget, costs)
    with Journal.open(journal, problem.identity, resume=resume) as kept:
        costs = problem.costs_of_codes
        if problem.form.timed:
            costs = replace(costs, latency=kept.latency(problem.measure_latency))
        try:
            for budget in budgets:
                if budget.kind in ("latency", "bytes"):
                    _check_possible(problem, budget, costs)
        except MptqError:
            journal.unlink()  # it holds nothing that another search could use
            raise

        found, front = _stepped(problem, costs, kept, progress)
        if problem.form.rebased:
            looks = [each for each in found if _errs(problem, kept, each)]
            progress.expect(second_looks(problem.work, len(looks)))
            found = [_on_base(problem, costs, kept, each, progress) if each in looks else each for each in found]
    return TradeOff(costs, found, tuple(front), len(kept.asked))


def _stepped(
    problem: Problem, costs: Costs, kept: Journal, progress: Progress
) -> tuple[list[FoundWidths], list[FrontPoint]]:
    """Greedy from the widest widths, and the programme beside it: a result a budget, and every accepted step."""
    space, budgets = problem.space, problem.settings.budgets

    def measure(widths: Widths) -> list[float]:
        return kept.divergences(widths, lambda: problem.divergences(widths))

    front: list[FrontPoint] = []
    found: dict[int, FoundWidths] = {}
    table, unit, chains = problem.table, problem.unit, _chains(budgets)
    limits = [[as_limit(costs.constraints(budgets[i]), space) for i in chain] for chain in chains]
    rehearsal = Rehearsal(space, table, limits, unit, lambda widths: sum(costs.mean_bits(widths)))
    progress.expect([steps(problem.work, rehearsal.measured)])
    with progress.stage(STEPS, 1) as bar:
        share = 0.0
        for number, chain in enumerate(chains):
            left = list(chain)
            widths, divergence = space.start, fmean(measure(space.start))
            for step in greedy(space, table, measure, limits[number], unit):
                if step is None:
                    budget = budgets[left[0]]
                    constraints = costs.constraints(budget)
                    programme = solve(space, table, constraints)
                    summed = fmean(measure(programme)) if all(c.met(programme) for c in constraints) else math.inf
                    found[left.pop(0)] = _better(budget, (widths, divergence), (programme, summed))
                    continue
                widths, divergence = step.widths, step.divergence
                front.append(FrontPoint(lowered=step.lowered, divergence=divergence, **costs.describe(widths)))
                before, share = share, rehearsal.share(number, widths)
                means = "{:.2f}/{:.2f}".format(*costs.mean_bits(widths))
                bar.advance(share - before, f"step {len(front)}  mean bits {means}  divergence {divergence:.4f}")
        bar.advance(1 - share)
    return [found[i] for i in range(len(budgets))], front


def _on_base(
    problem: Problem,
    costs: Costs,
    kept: Journal,
    found: FoundWidths,
    progress: Progress,
) -> FoundWidths:
    """A result whose estimates do not add up, or what its own base led to."""

    def measure(base: Problem, widths: Widths) -> list[float]:
        return kept.divergences(widths, lambda: base.divergences(widths), base.space.start)

    result = rebased(problem, measure, costs.constraints(found.budget), found.widths, progress)
    if result.widths == found.widths:
        return found
    compared: dict[Solver, float] = {found.solver: result.before, "quantized base": result.divergence}
    return FoundWidths(found.budget, result.widths, result.divergence, "quantized base", compared)


def _errs(problem: Problem, kept: Journal, found: FoundWidths) -> bool:
    """Whether the estimates do not add up to what the widths of a result have."""
    images = kept.divergences(found.widths, lambda: problem.divergences(found.widths))
    return sum_errs(images, sum(problem.table[unit.key, unit.bits(found.widths)] for unit in problem.space.units))


def _chains(budgets: Sequence[Budget]) -> list[list[int]]:
    """Numbers of budgets, each tighter in everything than the one before: a search goes on from one to the next.

    Mean widths of weights and of activations may leave several: `6/12` is no step on the way from `7/10`.
    """
    found: list[list[int]] = []
    wide_first = sorted(
        range(len(budgets)), key=lambda i: (-budgets[i].most, -(budgets[i].most_activations or math.inf))
    )
    for i in wide_first:
        chain = next((chain for chain in found if budgets[i].within(budgets[chain[-1]])), None)
        if chain is None:
            found.append([i])
        else:
            chain.append(i)
    return found


def _check_possible(problem: Problem, budget: Budget, costs: Costs) -> None:
    constraints = costs.constraints(budget)
    bottom = cheapest(constraints, problem.space)
    if all(constraint.met(bottom) for constraint in constraints):
        return
    least = costs.describe(bottom)
    has = f"mean widths {least['mean_weight_bits']:.2f}/{least['mean_activation_bits']:.2f}"
    has += f", about {least['file_bytes'] / 1e6:.2f} MB"
    has += f", {costs.operations_text(bottom)}"
    if budget.kind != "latency":
        raise budget.not_met(problem.space.domain, has)
    remedy = "raise the budget: fewer bits make a smaller file, not a faster one, in onnxruntime"
    raise budget.not_met(problem.space.domain, f"{has} and {least['latency_ms']:.1f} ms", remedy)


def _better(budget: Budget, stepped: tuple[Widths, float], programme: tuple[Widths, float]) -> FoundWidths:
    """Greedy's result, or that of the integer programme, whichever diverges less."""
    compared: dict[Solver, float] = {"greedy": stepped[1], "integer programme": programme[1]}
    if programme[1] < stepped[1]:
        return FoundWidths(budget, *programme, "integer programme", compared)
    return FoundWidths(budget, *stepped, "greedy", compared)
