"""Where: a choice, element by element."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import required, same_type
from kernels_ref.ops.types import Array


def where(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """Elements of X where the condition is true, else of Y; a -0.0 of X becomes 0.0.

    ONNX says nothing of such a loss: it was measured with onnxruntime 1.32, which masks X and Y with zeros first.

    Args:
        inputs: the condition (bool); X and Y, of one type; all broadcast.
        attributes: none.

    Raises:
        InterpreterError: an input is missing, the condition is not bool, or the types differ.
    """
    (condition,) = required(inputs, 1)
    if condition.dtype != np.bool_:
        raise InterpreterError(f"the condition is {condition.dtype}; it must be bool")
    x, y = same_type(inputs[1:], 2)
    return (np.where(condition, x + x.dtype.type(0) if x.dtype.kind == "f" else x, y),)
