"""How often greedy will measure: it is rehearsed with the sums of the estimates in place of the model, in no time."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from mptq_export.allocate.greedy_mp import Limit, greedy
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Widths

#: Of sums of widths.
_ROUNDING = 1e-9


class Rehearsal:
    """Greedy on the sums of the estimates: how often it measures on the way to every budget.

    Attributes:
        measured: candidates in all.
    """

    def __init__(
        self,
        space: SearchSpace,
        table: SensitivityTable,
        chains: Sequence[list[Limit]],
        at_start: float,
        distance: Callable[[Widths], float],
    ) -> None:
        """Rehearse.

        Args:
            space: what moves.
            table: estimated divergence of every unit and width.
            chains: limits that are met one after the other, from the start each.
            at_start: the true objective where the search starts.
            distance: how far widths are from where no unit can go further; it falls with every step.
        """
        self._distance, self._passed, self._chain = distance, list[list[tuple[float, int]]](), -1
        self.measured = 0
        for limits in chains:
            measured = 0

            def measure(widths: Widths) -> list[float]:
                nonlocal measured
                measured += 1
                return [at_start + sum(table[unit.key, unit.bits(widths)] for unit in space.units)]

            passed = [(-distance(space.start), 0)]
            passed += [
                (-distance(step.widths), measured) for step in greedy(space, table, measure, limits) if step is not None
            ]
            self._passed.append(passed)
            self.measured += measured

    def share(self, chain: int, widths: Widths) -> float:
        """How much of it all is done where the search of one chain has come to some widths, 0 to 1."""
        passed = self._passed[chain]
        at = min(bisect_left(passed, (-self._distance(widths) - _ROUNDING, 0)), len(passed) - 1)
        before = sum(each[-1][1] for each in self._passed[:chain])
        return (before + passed[at][1]) / max(self.measured, 1)
