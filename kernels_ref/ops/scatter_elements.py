"""ScatterElements: single elements replaced, or changed by others."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, required, same_type
from kernels_ref.ops.types import Array

#: What becomes of an element by `reduction`; none: the update alone.
_REDUCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def scatter_elements(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """x, in which each update changes the element whose place along the axis is its index.

    Args:
        inputs: x; indices (int32 or int64), negative ones count from the end; updates of the same shape as these.
        attributes: `axis` (0), `reduction` ("none", "add", "mul", "max", "min").

    Raises:
        InterpreterError: an input is missing, shapes or types do not fit, an index does not exist, or the reduction is
            unknown.
    """
    x, indices, updates = required(inputs, 3)
    same_type([x, updates])
    axis, how = axis_of(attributes.get("axis", 0), x.ndim), attributes.get("reduction", "none")
    if indices.dtype.kind not in "iu":
        raise InterpreterError(f"the indices are {indices.dtype}; they must be integers")
    fits = indices.shape == updates.shape and indices.ndim == x.ndim
    if not fits or any(n > m for i, (n, m) in enumerate(zip(indices.shape, x.shape, strict=True)) if i != axis):
        raise InterpreterError(f"indices {indices.shape} and updates {updates.shape} do not fit into {x.shape}")
    if indices.size and not (-x.shape[axis] <= indices.min() and indices.max() < x.shape[axis]):
        raise InterpreterError(f"an index does not exist among {x.shape[axis]}")
    if how != "none" and how not in _REDUCTIONS:
        raise InterpreterError(f"reduction is {how}; it must be none, {', '.join(_REDUCTIONS)}")
    place: list[Array] = list(np.indices(indices.shape, sparse=True))
    place[axis] = indices
    result = x.copy()
    if how == "none":
        result[tuple(place)] = updates
    else:
        _REDUCTIONS[how].at(result, tuple(place), updates)
    return (result,)
