"""Shape: the sizes of a tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import required
from kernels_ref.ops.types import Array


def shape(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The sizes of x as int64, from axis `start` up to `end` (not included).

    Args:
        inputs: x.
        attributes: `start` (0), `end` (behind the last axis).

    Raises:
        InterpreterError: x is missing.
    """
    (x,) = required(inputs, 1)
    return (np.asarray(x.shape[attributes.get("start", 0) : attributes.get("end", x.ndim)], np.int64),)
