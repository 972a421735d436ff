"""Exp: the exponential."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.few_values import on_distinct_values
from kernels_ref.ops.types import Array


def exp(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`e ^ x`. Computed in float64 and rounded once: a runtime's own may be an ulp or more away.

    Args:
        inputs: a float tensor.
        attributes: none.

    Raises:
        InterpreterError: the input is missing, or not a float tensor.
    """
    (x,) = same_type(inputs, 1, kinds="f")
    return (on_distinct_values(np.exp, x),)
