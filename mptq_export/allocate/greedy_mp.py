"""Greedy MP: lower the units whose steps cost the least performance for what they gain, until the budget is met.

Lazy and in groups: the next steps wait in a queue, ordered by an estimate of what they cost (the sensitivity table,
corrected by what steps really cost). Only the head is measured. One step changes the measured divergence by less than
its noise: every rounding error behind the layer falls anew, and few images carry most of the divergence. So the head is
as many steps as are expected to be seen above it, and a group that costs significantly more than expected, image by
image, is halved until the step that is at fault stands alone.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Unit, Widths

Measure = Callable[[Widths], Sequence[float]]
"""Divergence of the outputs of every image for a set of widths."""

#: Smallest rise of the divergence that a step is counted with: below it, steps are equal and the larger gain wins.
_FLOOR = 1e-7

#: A group ends when it is expected to raise the divergence by this share.
_SHARE = 0.1

#: Noise of a measured rise, as a share of the divergence; one step on 64 images of a DeiT-tiny varies by 0.06 to 0.11.
NOISE = 0.1

#: Standard errors of the mean change of an image that a rise must exceed to be one.
_SIGNIFICANT = 2.0

#: A group is taken if it costs at most so many times what is expected, and the noise.
_TRUST = 2.0


@dataclass(frozen=True)
class Step:
    """One or more accepted steps that were measured together.

    Attributes:
        lowered: the new width of every unit that was lowered, by key.
        divergence: mean divergence of the outputs after the step.
        widths: all widths after the step.
    """

    lowered: dict[str, int]
    divergence: float
    widths: Widths


@dataclass(frozen=True)
class Limit:
    """What is still over the budget.

    Attributes:
        gain: how much the next narrower width of a unit brings towards the budget; 0 where it brings nothing.
        met: whether widths are within the budget.
    """

    gain: Callable[[Unit, Widths], float]
    met: Callable[[Widths], bool]


def greedy(
    space: SearchSpace, table: SensitivityTable, measure: Measure, limits: list[Limit], unit: float = 1.0
) -> Iterator[Step | None]:
    """Lower widths until the last limit is met.

    Args:
        space: what moves, from where, and how low.
        table: estimated divergence of every unit and width.
        measure: the true objective.
        limits: budgets, the widest first.
        unit: of table and objective, where they do not measure what `_FLOOR` is of.

    Yields:
        What was accepted, and None when a limit is met. Ends early where nothing is left to lower.
    """
    widths, last = dict(space.start), measure(space.start)
    level = fmean(last)  # freed of noise: half of it is what was expected
    estimate = _Estimate(space, table, _FLOOR * unit)
    for limit in limits:
        most = len(space.units)
        while not limit.met(widths):
            group = estimate.cheapest(widths, limit, level, most)
            if not group:
                return
            lowered = widths
            for key, bits in group:
                lowered = estimate.units[key].applied(lowered, bits)
            images = measure(lowered)
            found = fmean(images)
            expected = sum(estimate.rise(*step) for step in group)
            noise = max(NOISE * max(level, found), _SIGNIFICANT * _standard_error(np.subtract(images, last)))
            excess = found - level - noise
            if excess > _TRUST * expected:
                if len(group) > 1:
                    most = len(group) // 2
                    continue
                estimate.correct(group[0][0], excess / expected)
                if estimate.cheapest(widths, limit, level, 1) != group:
                    continue
            level = (level + expected + found) / 2
            widths, last = lowered, images
            # Where groups were too large, the next one is not begun with all again: they still are, with few bits.
            most = 2 * most if len(group) == most else len(space.units)
            yield Step(dict(group), found, widths)
        yield None


class _Estimate:
    """The sensitivity table, corrected by what steps really cost."""

    def __init__(self, space: SearchSpace, table: SensitivityTable, floor: float) -> None:
        self.units = {unit.key: unit for unit in space.units}
        self._space, self._table, self._floor = space, table, floor
        self._factor = dict.fromkeys(self.units, 1.0)

    def rise(self, key: str, bits: int) -> float:
        """How much the divergence is expected to rise when a unit is lowered to a width from the next wider one."""
        above = min(b for b in self._space.widths(self.units[key]) if b > bits)
        return max((self._table[key, bits] - self._table[key, above]) * self._factor[key], self._floor)

    def correct(self, key: str, ratio: float) -> None:
        """Remember that a step of a unit costs `ratio` times what was expected."""
        self._factor[key] *= ratio

    def cheapest(self, widths: Widths, limit: Limit, level: float, most: int) -> list[tuple[str, int]]:
        """The next steps (unit key, new width), those with the least loss per gain first; none where none is left."""
        queue = [entry for unit in self.units.values() if (entry := self._entry(unit, widths, limit))]
        heapq.heapify(queue)
        group: list[tuple[str, int]] = []
        expected = 0.0
        while queue and len(group) < most and not limit.met(widths):
            if group and expected >= _SHARE * level:
                break
            cost, key = heapq.heappop(queue)
            unit = self.units[key]
            now = self._entry(unit, widths, limit)
            if now is None or now[0] > cost:  # an earlier step of the group met a part of the budget
                if now is not None:
                    heapq.heappush(queue, now)
                continue
            bits = self._space.below(unit, widths)[-1]
            group.append((key, bits))
            expected += self.rise(key, bits)
            widths = unit.applied(widths, bits)
            if following := self._entry(unit, widths, limit):
                heapq.heappush(queue, following)
        return group

    def _entry(self, unit: Unit, widths: Widths, limit: Limit) -> tuple[float, str] | None:
        """The estimated cost per gain of a unit's next step; None where it has none or it brings nothing."""
        below, gain = self._space.below(unit, widths), limit.gain(unit, widths)
        if not below or gain <= 0:
            return None
        return self.rise(unit.key, below[-1]) / gain, unit.key


def _standard_error(images: NDArray[np.float64]) -> float:
    """Of the mean of a number an image; 0 where there is one for all."""
    return float(np.std(images) / np.sqrt(max(len(images) - 1, 1)))
