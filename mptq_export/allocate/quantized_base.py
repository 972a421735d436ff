"""Widths near those that were found, proposed and judged on the base of what they quantize.

With few bits what units cost alone, with inputs that are nearly float, may not be what they cost together. Where the
sum of the estimates errs, a table on the base of the found widths (`AllocationProblem.around`) proposes others. The
proposal is measured there, and so are those of its groups alone of which most is unknown; the table is corrected
(`corrections.py`) and proposes again. The best proposal is then judged at home, with quantizers that were chosen for
it, against the found widths at theirs: as both would be exported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from mptq_export.allocate.constraint import Constraint
from mptq_export.allocate.corrections import Corrections
from mptq_export.allocate.expected import AGAIN, PROPOSALS
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.noise import standard_error
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.searchable import Problem
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Widths
from mptq_export.support.progress import SILENT, Progress

#: Share of the sum of estimates by which a measurement may differ from it.
_TRUSTED = 0.25

#: Standard errors of a mean over images that a difference must exceed to be one: of a sum's, and of a proposal's gain.
_SIGNIFICANT, _BETTER = 2.0, 1.0

#: How many widths beside the one found a unit may take.
_REACH = 1

#: Proposals at most.
_PROPOSALS = 4

#: Groups of a proposal that are measured alone.
_GROUPS = 3

#: Candidates that are measured on a base at most: itself, proposals, and groups of each.
MOST_MEASURED = 1 + _PROPOSALS * (1 + _GROUPS)


@dataclass(frozen=True)
class Rebased:
    """What the base of found widths led to.

    Attributes:
        widths: of all layers; the found ones where nothing was better.
        divergence: mean over the search images, with quantizers that were chosen for these widths.
        before: that of the found widths, with theirs.
    """

    widths: Widths
    divergence: float
    before: float


def sum_errs(images: Sequence[float], summed: float) -> bool:
    """Whether estimates of units do not add up to what their widths have together.

    Args:
        images: the measured divergence of every image, or one number for all.
        summed: the sum of the estimates.
    """
    return abs(fmean(images) - summed) > max(_TRUSTED * summed, _SIGNIFICANT * standard_error(images))


def rebased(
    problem: Problem,
    measure: Callable[[Problem, Widths], Sequence[float]],
    constraints: list[Constraint],
    widths: Widths,
    progress: Progress = SILENT,
) -> Rebased:
    """Propose and judge.

    Args:
        problem: what is solved.
        measure: the true objective of widths, with the quantizers of a problem on some base.
        constraints: the budget.
        widths: within it.
        progress: hears how far it is.
    """
    base = problem.around(widths, _REACH)
    table = _mean(base.space, problem.table, base.table)
    with progress.stage(AGAIN + PROPOSALS, MOST_MEASURED) as bar:

        def measured(candidate: Widths) -> Sequence[float]:
            images = measure(base, candidate)
            bar.advance(1, f"divergence {fmean(images):.4f}")
            return images

        proposal = propose(base.space, table, measured, constraints, base.kinds)
        before = measure(base, widths)
    if proposal is None:
        return Rebased(widths, fmean(before), fmean(before))
    after = measure(problem.around(proposal, 0), proposal)
    gains = np.subtract(before, after)
    if gains.mean() <= _BETTER * standard_error(gains):  # what is better by luck on these images is not on others
        return Rebased(widths, fmean(before), fmean(before))
    return Rebased(proposal, fmean(after), fmean(before))


def propose(
    space: SearchSpace,
    table: SensitivityTable,
    measure: Callable[[Widths], Sequence[float]],
    constraints: list[Constraint],
    kinds: Mapping[str, str],
) -> Widths | None:
    """The best widths of a few that the table proposes.

    Args:
        space: around the widths of the base, which are its start and meet the constraints.
        table: estimated divergence of every unit and width.
        measure: the true objective on the base.
        constraints: the budget.
        kinds: kind of every unit, by its key.

    Returns:
        Widths within the budget; None where all are worse than the base by more than the noise of a mean.
    """
    level = measure(space.start)
    corrections = Corrections(space, table, kinds, level)
    seen, best = [space.start], None
    least = np.inf
    for _ in range(_PROPOSALS):
        proposal = solve(space, corrections.table(), constraints)
        if proposal in seen:
            break
        seen.append(proposal)
        images = measure(proposal)
        corrections.learn(proposal, images)
        rise, error = corrections.rise(images)
        if rise < min(least, error):
            best, least = proposal, rise
        groups = corrections.moved(proposal)
        for group in sorted(groups, key=lambda each: (-corrections.doubt(groups[each]), each))[:_GROUPS]:
            if groups[group] not in seen:
                seen.append(groups[group])
                corrections.learn(groups[group], measure(groups[group]))
    return best


def _mean(space: SearchSpace, first: SensitivityTable, second: SensitivityTable) -> SensitivityTable:
    """The mean of two tables, each from its value at the start: both are noisy, and their noise differs."""
    at_start = {unit.key: unit.bits(space.start) for unit in space.units}
    return {
        (key, bits): (first[key, bits] - first[key, at_start[key]] + value - second[key, at_start[key]]) / 2
        for (key, bits), value in second.items()
    }
