"""What the reductions share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, integers, optional, required
from kernels_ref.ops.types import Array


def reduction(
    inputs: Sequence[Array | None], attributes: Mapping[str, Any]
) -> tuple[Array, tuple[int, ...] | None, bool]:
    """The tensor, the axes to reduce (None for all) and whether they stay, of size 1.

    Opsets moved the axes from an attribute to an input; either form is read.

    Raises:
        InterpreterError: an axis does not exist, or is named twice.
    """
    (x,) = required(inputs, 1)
    given = optional(inputs, 1)
    listed = attributes.get("axes", []) if given is None else integers(given, "axes")
    axes = tuple(axis_of(axis, x.ndim) for axis in listed)
    if len(set(axes)) < len(axes):
        raise InterpreterError(f"axes {list(listed)} name one axis twice")
    keepdims = bool(attributes.get("keepdims", 1))
    if axes:
        return x, axes, keepdims
    return x, () if attributes.get("noop_with_empty_axes", 0) else None, keepdims


def total(x: Array, axes: tuple[int, ...] | None, keepdims: bool) -> Array:
    """The sum: in float64 for floats, in 64 bits for integers."""
    wide = np.float64 if x.dtype.kind == "f" else None
    return np.asarray(np.sum(x, axis=axes, keepdims=keepdims, dtype=wide))


def least(dtype: np.dtype[Any]) -> Any:
    """The value of a type that is above none: minus infinity, false, or the least integer."""
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def greatest(dtype: np.dtype[Any]) -> Any:
    """The value of a type that is below none."""
    return np.inf if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max
