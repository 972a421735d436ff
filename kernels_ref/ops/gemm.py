"""Gemm: a float matrix product with a bias."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array


def gemm(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`alpha * A' @ B' + beta * C`. The order of a float sum is BLAS's: exact only where the sums are.

    Args:
        inputs: A (M, K), B (K, N), C (optional, broadcast to (M, N)), all of one float type.
        attributes: `alpha` (1.0), `beta` (1.0), `transA` (0), `transB` (0).

    Raises:
        InterpreterError: A or B is not a float matrix.
    """
    a, b = inputs[0], inputs[1]
    c = inputs[2] if len(inputs) > 2 else None
    if a is None or b is None or a.ndim != 2 or b.ndim != 2 or a.dtype.kind != "f" or a.dtype != b.dtype:
        raise InterpreterError("A and B must be matrices of one float type")
    y = (a.T if attributes.get("transA", 0) else a) @ (b.T if attributes.get("transB", 0) else b)
    y *= np.asarray(attributes.get("alpha", 1.0), y.dtype)
    if c is not None:
        y += np.asarray(attributes.get("beta", 1.0), y.dtype) * c
    return (y,)
