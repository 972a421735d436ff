"""And: where both are true."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def logical_and(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`A and B`.

    Args:
        inputs: A and B, of type bool; they broadcast.
        attributes: none.

    Raises:
        InterpreterError: an input is missing, or not bool.
    """
    a, b = same_type(inputs, 2, kinds="b")
    return (np.asarray(np.logical_and(a, b)),)
