"""Slow functions on large tensors that hold few distinct values, as dequantized codes do."""

from collections.abc import Callable

import numpy as np

from kernels_ref.ops.types import Array

#: Below this size, looking for repeated values costs more than it saves.
_LARGE = 4096
_MOST_SLOTS = 2**16


def in_float64(function: Callable[[Array], Array], x: Array) -> Array:
    """`function(x)`, computed in float64 and rounded once to the type of x."""
    return np.asarray(function(x.astype(np.float64)).astype(x.dtype))


def on_distinct_values(function: Callable[[Array], Array], x: Array) -> Array:
    """`function(x)` like `in_float64`, computed once for each distinct value where these are few and evenly spread.

    The values find their place in a table by their distance from the least one, counted in the smallest gap between
    two of them. Every value has a place of its own (checked), so the result is the same as without a table.
    """
    if x.size < _LARGE or x.dtype != np.float32:
        return in_float64(function, x)
    distinct = np.unique(x)
    if not 1 < distinct.size <= x.size // 8 or not np.isfinite(distinct[[0, -1]]).all():
        return in_float64(function, x)
    least, gap = distinct[0], np.diff(distinct).min()
    if (distinct[-1] - least) / gap >= _MOST_SLOTS:
        return in_float64(function, x)
    places = np.rint((distinct - least) / gap).astype(np.int32)
    if (np.diff(places) < 1).any():
        return in_float64(function, x)
    table = np.zeros(places[-1] + 1, np.float32)
    table[places] = in_float64(function, distinct)
    return np.asarray(np.take(table, np.rint((x - least) / gap).astype(np.int32)))
