"""A budget as the solvers see it: sums of what every layer costs at its widths, and the most that each may be."""

from collections.abc import Iterable
from dataclasses import dataclass

from mptq_export.allocate.greedy_mp import Limit
from mptq_export.allocate.prices import JointPrice, Prices
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit, Widths


@dataclass(frozen=True)
class Constraint:
    """One sum over all layers that must not be too large.

    Attributes:
        weights: cost of a layer by the width of its weights; layers that are not there cost nothing.
        activations: the same by the width of its activations.
        most: the largest sum; what does not depend on widths is subtracted already.
        joint: cost of a layer by both widths; None where both sides cost apart.
    """

    weights: Prices
    activations: Prices
    most: float
    joint: JointPrice | None = None

    def of_layer(self, layer: str, pair: tuple[int, int]) -> float:
        """What a layer costs."""
        apart = self.weights.get((layer, pair[0]), 0.0) + self.activations.get((layer, pair[1]), 0.0)
        return apart if self.joint is None else apart + self.joint(layer, pair)

    def value(self, widths: Widths) -> float:
        """The sum."""
        return sum(self.of_layer(layer, pair) for layer, pair in widths.items())

    def met(self, widths: Widths) -> bool:
        """Whether the sum is within its limit, but for the rounding of the sum itself."""
        return self.value(widths) <= self.most + 1e-9 * abs(self.most)

    def price(self, unit: Unit, bits: int, widths: Widths) -> float:
        """What a unit costs at a width, with the other side of its layer as it is in `widths`."""
        weights = self.weights.get((unit.layer, bits), 0.0) if unit.side != "activations" else 0.0
        if unit.side != "weights":
            weights += sum(self.activations.get((name, bits), 0.0) for name in unit.calls)
        if self.joint is None:
            return weights
        pair = unit.pair(widths, bits)
        return weights + sum(self.joint(name, pair) for name in unit.calls)

    def saving(self, unit: Unit, widths: Widths, below: tuple[int, ...]) -> float:
        """What one bit less brings, at the best width below: one step may save nothing, and the next one much."""
        bits = unit.bits(widths)
        here = self.price(unit, bits, widths)
        return max(((here - self.price(unit, b, widths)) / (bits - b) for b in below), default=0.0)


def met(constraints: Iterable[Constraint], widths: Widths) -> bool:
    """Whether widths are within all constraints of a budget."""
    return all(constraint.met(widths) for constraint in constraints)


def as_limit(constraints: list[Constraint], space: SearchSpace) -> Limit:
    """All constraints at once; what is over counts, as a share of what it may be.

    Args:
        constraints: all of a budget.
        space: between which widths units move.
    """

    def gain(unit: Unit, widths: Widths) -> float:
        below = space.below(unit, widths)
        if not below:
            return 0.0
        step = unit.bits(widths) - below[-1]
        over = (c for c in constraints if not c.met(widths))
        return sum(step * c.saving(unit, widths, below) / max(c.most, 1e-9) for c in over)

    return Limit(gain, lambda widths: met(constraints, widths))


def cheapest(constraints: list[Constraint], space: SearchSpace) -> Widths:
    """The widths that cost least: a small weight may take less of a file at a width at which it is packed.

    Args:
        constraints: all of a budget.
        space: what moves, and where from.
    """
    widths = space.start
    for unit in space.units:
        now = widths
        best = min(space.widths(unit), key=lambda b: sum(c.price(unit, b, now) for c in constraints))
        widths = unit.applied(widths, best)
    return widths
