"""LeakyRelu: less of what is below 0."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def leaky_relu(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`x if x >= 0 else alpha x` in the type of x.

    Args:
        inputs: a float tensor.
        attributes: `alpha` (0.01).

    Raises:
        InterpreterError: the input is missing, or not a float tensor.
    """
    (x,) = same_type(inputs, 1, kinds="f")
    return (np.where(x >= 0, x, x.dtype.type(attributes.get("alpha", 0.01)) * x),)
