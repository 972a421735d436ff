"""ReduceSum: the sum along axes."""

from collections.abc import Mapping, Sequence
from typing import Any

from kernels_ref.ops.reduction import reduction, total
from kernels_ref.ops.types import Array


def reduce_sum(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The sum in the type of x.

    Floats are summed in float64 and rounded once. Where a graph's sums are exact (integer values, partial sums below
    2^24) every order gives this very result, so a runtime's order does not matter; elsewhere this is the sum that the
    orders scatter around. Integers wrap around.

    Args:
        inputs: x; the axes (optional; an attribute in older opsets; all axes when left out).
        attributes: `axes`, `keepdims` (1), `noop_with_empty_axes` (0).

    Raises:
        InterpreterError: an axis does not exist, or is named twice.
    """
    x, axes, keepdims = reduction(inputs, attributes)
    return (total(x, axes, keepdims).astype(x.dtype, copy=False),)
