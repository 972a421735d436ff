"""Identity: the tensor itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def identity(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The input, unchanged.

    Args:
        inputs: a tensor.
        attributes: none.

    Raises:
        InterpreterError: the input is missing, or not of such a type.
    """
    (x,) = same_type(inputs, 1)
    return (np.asarray(x),)
