"""ReduceMean: the mean along axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.reduction import reduction, total
from kernels_ref.ops.types import Array


def reduce_mean(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The mean in the type of x: the sum and the quotient in float64, rounded once; integers are divided towards 0.

    Args:
        inputs: x; the axes (optional; an attribute in older opsets; all axes when left out).
        attributes: `axes`, `keepdims` (1), `noop_with_empty_axes` (0).

    Raises:
        InterpreterError: an axis does not exist, or is named twice.
    """
    x, axes, keepdims = reduction(inputs, attributes)
    return (_mean(x, axes, keepdims),)


def _mean(x: Array, axes: tuple[int, ...] | None, keepdims: bool) -> Array:
    sums = total(x, axes, keepdims)
    count = x.size // max(sums.size, 1)
    quotient = sums / count if x.dtype.kind == "f" else np.trunc(sums / count)
    return np.asarray(quotient.astype(x.dtype))
