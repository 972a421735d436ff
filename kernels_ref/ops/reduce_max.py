"""ReduceMax: the greatest element along axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.reduction import least, reduction
from kernels_ref.ops.types import Array


def reduce_max(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The maximum, NaN where there is one; of no elements, the least value of the type.

    Args:
        inputs: x; the axes (optional; an attribute in older opsets; all axes when left out).
        attributes: `axes`, `keepdims` (1), `noop_with_empty_axes` (0).

    Raises:
        InterpreterError: an axis does not exist, or is named twice.
    """
    x, axes, keepdims = reduction(inputs, attributes)
    if not x.size:
        return (np.max(x, axis=axes, keepdims=keepdims, initial=least(x.dtype)),)
    return (np.asarray(np.max(x, axis=axes, keepdims=keepdims)),)
