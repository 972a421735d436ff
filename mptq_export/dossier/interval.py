"""Intervals of numbers, computed in float64."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import helper

#: Share of an end that is added to it: more than all roundings of one kernel in float32.
WIDER = 2.0**-20


class Interval(NamedTuple):
    """All numbers from `low` to `high`."""

    low: float
    high: float

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def wider(self) -> "Interval":
        """With room for what float32 rounds."""
        return Interval(self.low - abs(self.low) * WIDER, self.high + abs(self.high) * WIDER)

    def inside(self, limits: "Interval") -> "Interval":
        """Clipped to others."""
        low, high = (min(max(end, limits.low), limits.high) for end in self)
        return Interval(low, high)

    def times(self, other: "Interval") -> "Interval":
        """All products; with 0 they are 0."""
        ends = [0.0 if x == 0 or y == 0 else x * y for x in self for y in other]
        return Interval(min(ends), max(ends))


EVERYTHING = Interval(-math.inf, math.inf)


def hull(*intervals: Interval) -> Interval:
    """The smallest one that holds all of these."""
    return Interval(min(each.low for each in intervals), max(each.high for each in intervals))


def of_values(values: NDArray[Any]) -> Interval:
    """From the least to the greatest of some values."""
    if not values.size or values.dtype.kind in "OSUb":
        return Interval(0.0, 1.0)
    return Interval(float(values.min()), float(values.max()))


def of_type(kind: int) -> Interval:
    """All numbers of a type; of floats also the infinite ones."""
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    if dtype.kind == "b":
        return Interval(0.0, 1.0)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return Interval(float(limits.min), float(limits.max))
    return EVERYTHING
