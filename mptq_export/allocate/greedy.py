"""Greedy MP: lower the unit whose step costs the least performance for what it gains, until the budget is met.

Lazy: the next steps wait in a queue, ordered by an estimate of what they cost; only the head is measured, and taken if
it is still the cheapest. The estimate is the sensitivity table, corrected by what a unit's earlier steps really cost.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mptq_export.allocate.sensitivity import Table
from mptq_export.allocate.units import Unit, Widths

Measure = Callable[[Widths], float]
"""Mean KL divergence of the logits of a set of widths."""

#: Smallest rise of the divergence that a step is counted with: below it, steps are equal and the larger gain wins.
_FLOOR = 1e-7


@dataclass(frozen=True)
class Step:
    """One accepted step.

    Attributes:
        unit: key of the unit that was lowered.
        bits: its new width.
        divergence: mean KL divergence of the logits after the step.
        widths: all widths after the step.
    """

    unit: str
    bits: int
    divergence: float
    widths: Widths


@dataclass(frozen=True)
class Limit:
    """What is still over the budget.

    Attributes:
        gain: how much one bit less of a unit brings towards the budget; 0 where it brings nothing.
        met: whether widths are within the budget.
    """

    gain: Callable[[Unit, Widths], float]
    met: Callable[[Widths], bool]


def greedy(
    units: list[Unit], table: Table, measure: Measure, start: Widths, lowest: int, limits: list[Limit]
) -> Iterator[Step | None]:
    """Lower widths until the last limit is met.

    Args:
        units: what moves.
        table: estimated divergence of every unit and width.
        measure: the true metric.
        start: widths of all layers.
        lowest: no unit goes below.
        limits: budgets, the widest first.

    Yields:
        Every accepted step, and None when a limit is met. Ends early where nothing is left to lower.
    """
    widths, divergence = dict(start), measure(start)
    by_key = {unit.key: unit for unit in units}
    factor = dict.fromkeys(by_key, 1.0)  # what a unit's steps really cost, relative to the table
    for limit in limits:
        queue = [entry for unit in units if (entry := _entry(unit, widths, table, factor, lowest, limit))]
        heapq.heapify(queue)
        while queue and not limit.met(widths):
            estimate, key = heapq.heappop(queue)
            unit = by_key[key]
            gain = limit.gain(unit, widths)
            if gain <= 0:
                continue
            bits = unit.bits(widths) - 1
            lowered = unit.applied(widths, bits)
            found = measure(lowered)
            rise = max(found - divergence, _FLOOR)
            expected = max(table[key, bits] - table[key, bits + 1], _FLOOR)
            if queue and rise / gain > queue[0][0] and rise / gain > estimate:
                factor[key] = rise / expected
                heapq.heappush(queue, (rise / gain, key))
                continue
            factor[key] = rise / expected
            widths, divergence = lowered, found
            yield Step(key, bits, divergence, widths)
            if following := _entry(unit, widths, table, factor, lowest, limit):
                heapq.heappush(queue, following)
        if not limit.met(widths):
            return
        yield None


def _entry(
    unit: Unit, widths: Widths, table: Table, factor: dict[str, float], lowest: int, limit: Limit
) -> tuple[float, str] | None:
    """The estimated cost per gain of a unit's next step; None where it has none or it brings nothing."""
    bits, gain = unit.bits(widths), limit.gain(unit, widths)
    if bits <= lowest or gain <= 0:
        return None
    rise = (table[unit.key, bits - 1] - table[unit.key, bits]) * factor[unit.key]
    return max(rise, _FLOOR) / gain, unit.key
