"""Relu: nothing below 0."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def relu(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`max(x, 0)` in the type of x; -0.0 stays, as measured with onnxruntime 1.32 on x86.

    Args:
        inputs: a float or signed integer tensor.
        attributes: none.

    Raises:
        InterpreterError: the input is missing, or not of such a type.
    """
    (x,) = same_type(inputs, 1, kinds="fi")
    return (np.where(x < 0, x.dtype.type(0), x),)
