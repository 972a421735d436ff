"""Expand: a tensor repeated to a shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import integers, required
from kernels_ref.ops.types import Array


def expand(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """x, broadcast together with a shape: a size of 1 there keeps the size of x. A view that is read only.

    Args:
        inputs: x; the shape (integers).
        attributes: none.

    Raises:
        InterpreterError: x and the shape do not broadcast.
    """
    x, shape = required(inputs, 2)
    return (np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(integers(shape, "shape")))),)
