"""MatMul: a float matrix product, batched like NumPy's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array


def mat_mul(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`A @ B`. The order of a float sum is BLAS's: exact only where the sums are.

    Args:
        inputs: A (..., M, K) and B (..., K, N), of one float type.
        attributes: none.

    Raises:
        InterpreterError: A and B are not of one float type (use MatMulInteger for codes).
    """
    a, b = inputs
    if a is None or b is None or a.dtype.kind != "f" or a.dtype != b.dtype:
        raise InterpreterError("A and B must be of one float type")
    return (np.asarray(a @ b),)
