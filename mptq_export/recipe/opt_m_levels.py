"""The levels of an OPT-m quantizer, for the eye."""

from dataclasses import dataclass

from mptq_export.recipe.schema import ActivationQuant


@dataclass(frozen=True)
class LevelRegion:
    """A run of levels with one step.

    Attributes:
        step: in codes: `2 ** shift`.
        low: value where the region begins.
        high: value of its last level.
        levels: values of the levels; one between two regions belongs to the lower one.
    """

    step: int
    low: float
    high: float
    levels: tuple[float, ...]


def level_regions(quant: ActivationQuant) -> tuple[LevelRegion, ...]:
    """The regions of a quantizer that has some, from the lowest."""
    found = []
    start, first = quant.low, quant.low
    for region in quant.regions:
        step = 1 << region.shift
        levels = tuple((code - quant.zero_point) * quant.scale for code in range(first, region.last + 1, step))
        low, high = ((code - quant.zero_point) * quant.scale for code in (start, region.last))
        found.append(LevelRegion(step, low, high, levels))
        start = region.last
        # The first level of the next region is one of its own steps above the last level of this one.
        following = quant.regions[len(found)].shift if len(found) < len(quant.regions) else 0
        first = region.last + (1 << following)
    return tuple(found)
