"""Better widths near those that were found, on the base of what they quantize: measured again there, in few groups.

Greedy that adds up what units cost alone is wrong below 4 bits: candidates were fitted to inputs that they will not
see, and errors do not add up. Here a table of the base (`AllocationProblem.around`) proposes widths, the proposal is
measured, and so are those of its groups alone of which most is unknown; the table is corrected
(`corrections.py`) and proposes again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from mptq_export.allocate.constraint import Constraint
from mptq_export.allocate.corrections import Corrections
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.searchable import Problem
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Widths

#: Rounds for a budget at most: each walks through the model twice.
ROUNDS = 2

#: Proposals of one round at most.
_PROPOSALS = 4

#: Groups of a proposal that are measured alone.
_GROUPS = 3


@dataclass(frozen=True)
class Improved:
    """What one round found.

    Attributes:
        widths: of all layers; those of the start where nothing was better.
        divergence: mean over the search images, with the quantizers of the base.
        before: that of the start.
    """

    widths: Widths
    divergence: float
    before: float


def rounds(
    problem: Problem,
    measure: Callable[[Problem, Widths], Sequence[float]],
    constraints: list[Constraint],
    widths: Widths,
) -> Iterator[Improved]:
    """Rounds until nothing moves, each on the base of what the one before found.

    Args:
        problem: what is solved.
        measure: the true objective of widths, with the quantizers of a problem on some base.
        constraints: the budget.
        widths: within it, where the first round stands.
    """
    for _ in range(ROUNDS):
        base = problem.around(widths)
        found = improve(base.space, base.table, partial(measure, base), constraints, base.kinds)
        yield found
        if found.widths == widths:
            return
        widths = found.widths


def improve(
    space: SearchSpace,
    table: SensitivityTable,
    measure: Callable[[Widths], Sequence[float]],
    constraints: list[Constraint],
    kinds: Mapping[str, str],
) -> Improved:
    """One round.

    Args:
        space: around the widths of the base, which are its start and meet the constraints.
        table: estimated divergence of every unit and width on the base.
        measure: the true objective on the base.
        constraints: the budget.
        kinds: kind of every unit, by its key.
    """
    level = measure(space.start)
    corrections = Corrections(space, table, kinds, level)
    best = space.start, fmean(level)
    seen = [space.start]
    for _ in range(_PROPOSALS):
        proposal = solve(space, corrections.table(), constraints)
        if proposal in seen:
            break
        seen.append(proposal)
        images = measure(proposal)
        corrections.learn(proposal, images)
        if fmean(images) < best[1]:
            best = proposal, fmean(images)
        groups = corrections.moved(proposal)
        for group in sorted(groups, key=lambda each: (-corrections.doubt(groups[each]), each))[:_GROUPS]:
            corrections.learn(groups[group], measure(groups[group]))
    return Improved(*best, fmean(level))
