"""A budget as the solvers see it: sums of what every layer costs at its widths, and the most that each may be."""

from dataclasses import dataclass

from mptq_export.allocate.greedy_mp import Limit
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit, Widths

Prices = dict[tuple[str, int], float]
"""What a layer costs at a width, by (layer, bits)."""


@dataclass(frozen=True)
class Constraint:
    """One sum over all layers that must not be too large.

    Attributes:
        weights: cost of a layer by the width of its weights; layers that are not there cost nothing.
        activations: the same by the width of its activations.
        most: the largest sum; what does not depend on widths is subtracted already.
    """

    weights: Prices
    activations: Prices
    most: float

    def value(self, widths: Widths) -> float:
        """The sum."""
        return sum(
            self.weights.get((layer, pair[0]), 0.0) + self.activations.get((layer, pair[1]), 0.0)
            for layer, pair in widths.items()
        )

    def met(self, widths: Widths) -> bool:
        """Whether the sum is within its limit, but for the rounding of the sum itself."""
        return self.value(widths) <= self.most + 1e-9 * abs(self.most)

    def price(self, unit: Unit, bits: int) -> float:
        """What a unit costs at a width."""
        weights = self.weights.get((unit.layer, bits), 0.0) if unit.side != "activations" else 0.0
        return weights + (self.activations.get((unit.layer, bits), 0.0) if unit.side != "weights" else 0.0)

    def saving(self, unit: Unit, bits: int, lowest: int) -> float:
        """What one bit less brings, at the best width below: one step may save nothing, and the next one much."""
        here = self.price(unit, bits)
        return max(((here - self.price(unit, b)) / (bits - b) for b in range(lowest, bits)), default=0.0)


def as_limit(constraints: list[Constraint], lowest: int) -> Limit:
    """All constraints at once; what is over counts, as a share of what it may be.

    Args:
        constraints: all of a budget.
        lowest: no unit goes below this width.
    """

    def gain(unit: Unit, widths: Widths) -> float:
        bits = unit.bits(widths)
        over = (c for c in constraints if not c.met(widths))
        return sum(c.saving(unit, bits, lowest) / max(c.most, 1e-9) for c in over)

    return Limit(gain, lambda widths: all(c.met(widths) for c in constraints))


def cheapest(constraints: list[Constraint], space: SearchSpace) -> Widths:
    """The widths that cost least: a small weight may take less of a file at a width at which it is packed.

    Args:
        constraints: all of a budget.
        space: what moves, and where from.
    """
    widths = space.start
    for unit in space.units:
        best = min(space.bits, key=lambda b: sum(c.price(unit, b) for c in constraints))
        widths = unit.applied(widths, best)
    return widths
