"""Min: the least of several tensors, element by element."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def min_(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The least of the inputs; NaN where one is.

    Args:
        inputs: one tensor or more, of one number type; they broadcast.
        attributes: none.

    Raises:
        InterpreterError: there is no input, or the types differ.
    """
    return (np.asarray(reduce(np.minimum, same_type(inputs))),)
