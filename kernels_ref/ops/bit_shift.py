"""BitShift: bits moved up or down."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def bit_shift(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`X << Y` or `X >> Y`; bits beyond the end are lost, and a negative X keeps its sign on the way right.

    A shift by less than 0, or by the width of the type or more, leaves no bit of X: 0, or -1 of a negative X that goes
    right.

    Args:
        inputs: X and Y, of one integer type; they broadcast.
        attributes: `direction` ("LEFT" or "RIGHT").

    Raises:
        InterpreterError: an input is missing or not an integer, or the direction is unknown.
    """
    x, y = same_type(inputs, 2, kinds="iu")
    direction = attributes.get("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise InterpreterError(f"direction is {direction}; it must be LEFT or RIGHT")
    return (np.asarray(np.left_shift(x, y) if direction == "LEFT" else np.right_shift(x, y)),)
