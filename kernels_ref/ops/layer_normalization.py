"""LayerNormalization: mean 0 and variance 1 over the last axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import axis_of, optional, required
from kernels_ref.ops.types import Array


def layer_normalization(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`(x - mean) / sqrt(variance + epsilon) * scale + bias`, in float64 and rounded once.

    A runtime's float32 sums differ in the last bits: no claim of equal bits is made here.

    Args:
        inputs: x, scale and bias (optional).
        attributes: `axis` (-1, the first of the axes that are normalised), `epsilon` (1e-5).

    Raises:
        InterpreterError: an input is missing, or there is no such axis.
    """
    x, scale = required(inputs, 2)
    bias = optional(inputs, 2)
    axes = tuple(range(axis_of(attributes.get("axis", -1), x.ndim), x.ndim))
    wide = x.astype(np.float64)
    mean = wide.mean(axis=axes, keepdims=True)
    deviation = wide - mean
    inverse = 1 / np.sqrt((deviation * deviation).mean(axis=axes, keepdims=True) + attributes.get("epsilon", 1e-5))
    y = deviation * inverse * scale
    if bias is not None:
        y = y + bias
    # The statistics are float32 whatever the type of x: the only `stash_type` that runtimes have.
    return np.asarray(y.astype(x.dtype)), mean.astype(np.float32), inverse.astype(np.float32)
