"""How often a search will measure: it is rehearsed with the sums of the estimates in place of the model, in no time."""

from bisect import bisect_left
from collections.abc import Sequence

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.descent import FrontPoint, Point, descend
from mptq_export.allocate.stored_problem import StoredProblem
from mptq_export.allocate.units import Widths

#: Of sums of widths.
_ROUNDING = 1e-9


class Rehearsal:
    """A search on the sums of the estimates."""

    def __init__(self, problem: StoredProblem, at_start: float, budgets: Sequence[Budget] | None = None) -> None:
        """Rehearse.

        Args:
            problem: what will be searched.
            at_start: the divergence at the widest widths.
            budgets: that are asked for; None: it goes down to the narrowest widths.
        """
        space, table = problem.space, problem.table
        self._measured: set[tuple[tuple[int, int], ...]] = set()
        self._passed: list[tuple[float, int]] = []

        def measure(widths: Widths) -> list[float]:
            self._measured.add(tuple(widths.values()))
            return [at_start + sum(table[unit.key, unit.bits(widths)] for unit in space.units)]

        def tick(point: Point) -> None:
            if isinstance(point, FrontPoint):
                self._passed.append((-_means(point), self.measured))

        descend(problem, measure, tick, budgets)

    @property
    def measured(self) -> int:
        """Different candidates that it measured."""
        return len(self._measured)

    def share(self, point: FrontPoint) -> float:
        """How much is done of a search that has come to a step, 0 to 1."""
        place = bisect_left(self._passed, (-_means(point) - _ROUNDING, 0))
        return self._passed[place][1] / self.measured if place < len(self._passed) else 1.0


def _means(point: Point) -> float:
    return point.mean_weight_bits + point.mean_activation_bits
