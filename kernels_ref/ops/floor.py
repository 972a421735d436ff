"""Floor: the greatest integer that is not above."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def floor(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """Each element rounded down.

    Args:
        inputs: a float tensor.
        attributes: none.

    Raises:
        InterpreterError: the input is missing, or not of such a type.
    """
    (x,) = same_type(inputs, 1, kinds="f")
    return (np.asarray(np.floor(x)),)
