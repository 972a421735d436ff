"""MatMulInteger: codes times codes, accumulated in int32."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.matmul import centred, exact_product, fits_int32
from kernels_ref.ops.types import Array


def mat_mul_integer(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`(A - zero_a) @ (B - zero_b)` as int32, exact.

    Args:
        inputs: A (..., M, K) and B (..., K, N), uint8 or int8; their zero points (optional; one, one for each row of A,
            one for each column of B).
        attributes: none.

    Raises:
        InterpreterError: a type that is not 8 bits wide, or a sum that leaves int32.
    """
    a, b, zero_a, zero_b = [*inputs, None, None][:4]
    if a is None or b is None or a.dtype not in (np.uint8, np.int8) or b.dtype not in (np.uint8, np.int8):
        raise InterpreterError("A and B must be uint8 or int8")
    if zero_a is not None and zero_a.ndim == 1 and zero_a.size > 1:
        zero_a = zero_a[:, None]
    product = exact_product(centred(a, zero_a), centred(b, zero_b))
    fits_int32(product)
    return (np.asarray(product.astype(np.int32)),)
