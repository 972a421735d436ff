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
    found: list[LevelRegion] = []
    for run in quant.runs():
        values = tuple(k * run.unit * quant.scale for k in range(run.first, run.last + 1))
        found.append(LevelRegion(run.unit, values[0], values[-1], values[1:] if found else values))
    return tuple(found)
