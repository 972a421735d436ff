"""Slow functions on large tensors that hold few distinct values, as dequantized codes do."""

from collections.abc import Callable

import numpy as np

from kernels_ref.ops.types import Array

#: Below this size, looking for repeated values costs more than it saves.
_LARGE = 1024
_SAMPLE = 4096
_MOST_SLOTS = 2**16


def in_float64(function: Callable[[Array], Array], x: Array) -> Array:
    """`function(x)`, computed in float64 and rounded once to the type of x."""
    return np.asarray(function(x.astype(np.float64)).astype(x.dtype))


def on_distinct_values(function: Callable[[Array], Array], x: Array) -> Array:
    """`function(x)` like `in_float64`, computed once for each distinct value where these are few and evenly spread.

    A sample guesses the gap between neighbouring values. The values then find their place in a table by their distance
    from the least one, counted in gaps. The guess need not be right: the table's arguments are compared with x bit for
    bit, so the result is the same as without a table.
    """
    places = _places(x) if x.size >= _LARGE and x.dtype == np.float32 else None
    if places is None:
        return in_float64(function, x)
    # An empty place holds some value of x, so that the function sees no other.
    arguments = np.full(int(places.max()) + 1, x.flat[0], np.float32)
    arguments[places] = x
    # As bits: -0 and 0 are two values to some functions.
    if not np.array_equal(np.take(arguments, places).view(np.int32), np.ascontiguousarray(x).view(np.int32)):
        return in_float64(function, x)
    return np.asarray(np.take(in_float64(function, arguments), places))


def _places(x: Array) -> Array | None:
    """The place of each element in a table of evenly spread values; None where the table would be too large."""
    least, greatest = x.min(), x.max()
    if not np.isfinite([least, greatest]).all():
        return None
    # Taken from all over x: its first rows may be alike.
    sample = np.unique(np.append(x.flat[:: -(-x.size // _SAMPLE)], [least, greatest]))
    gap = np.diff(sample).min(initial=np.inf)
    if not (greatest - least) / gap < min(_MOST_SLOTS, x.size // 4):
        return None
    steps = x - least
    steps /= gap
    np.rint(steps, out=steps)
    return np.asarray(steps.astype(np.intp))
