"""Equal: where two tensors are the same."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def equal(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`A == B`; NaN equals nothing.

    Args:
        inputs: A and B, of one type; they broadcast.
        attributes: none.

    Raises:
        InterpreterError: an input is missing, or the types differ.
    """
    a, b = same_type(inputs, 2)
    return (np.asarray(a == b),)
