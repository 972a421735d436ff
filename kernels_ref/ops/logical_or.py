"""Or: where at least one is true."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def logical_or(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`A or B`.

    Args:
        inputs: A and B, of type bool; they broadcast.
        attributes: none.

    Raises:
        InterpreterError: an input is missing, or not bool.
    """
    a, b = same_type(inputs, 2, kinds="b")
    return (np.asarray(np.logical_or(a, b)),)
