"""Constant: a tensor from the file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array

_TYPES = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}


def constant(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The value that the attribute holds.

    Args:
        inputs: none.
        attributes: one of `value`, `value_int`, `value_ints`, `value_float`, `value_floats`.

    Raises:
        InterpreterError: there is none of these attributes.
    """
    if "value" in attributes:
        return (np.asarray(attributes["value"]),)
    for name, dtype in _TYPES.items():
        if name in attributes:
            return (np.asarray(attributes[name], dtype),)
    raise InterpreterError(f"none of value, {', '.join(_TYPES)} is given")
