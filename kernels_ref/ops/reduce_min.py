"""ReduceMin: the least element along axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.reduction import greatest, reduction
from kernels_ref.ops.types import Array


def reduce_min(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The minimum, NaN where there is one; of no elements, the greatest value of the type.

    Args:
        inputs: x; the axes (optional; an attribute in older opsets; all axes when left out).
        attributes: `axes`, `keepdims` (1), `noop_with_empty_axes` (0).

    Raises:
        InterpreterError: an axis does not exist, or is named twice.
    """
    x, axes, keepdims = reduction(inputs, attributes)
    if not x.size:
        return (np.min(x, axis=axes, keepdims=keepdims, initial=greatest(x.dtype)),)
    return (np.asarray(np.min(x, axis=axes, keepdims=keepdims)),)
