"""Gelu: the Gaussian error linear unit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.few_values import on_distinct_values
from kernels_ref.ops.types import Array


def gelu(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`x / 2 (1 + erf(x / sqrt 2))`, or its form with tanh; in float64 and rounded once.

    Args:
        inputs: a float tensor.
        attributes: `approximate` ("none" or "tanh").

    Raises:
        InterpreterError: the input is missing, or not a float tensor, or the form is unknown.
    """
    (x,) = same_type(inputs, 1, kinds="f")
    approximate = attributes.get("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise InterpreterError(f"approximate is {approximate}; known are none and tanh")
    return (on_distinct_values(_exact if approximate == "none" else _with_tanh, x),)


def _exact(x: Array) -> Array:
    # 1 + erf(t) = erfc(-t), which keeps its digits where erf(t) is close to -1.
    tail = np.fromiter(map(math.erfc, (x * -math.sqrt(0.5)).ravel().tolist()), np.float64, x.size)
    return np.asarray(0.5 * x * tail.reshape(x.shape))


def _with_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))))
