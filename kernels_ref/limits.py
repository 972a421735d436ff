"""What a small file may not ask for: a tensor that does not fit into memory is refused before it is made."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.kinds import BROADCASTING
from kernels_ref.ops.types import Array

MAX_BYTES = 2**32
"""Largest result of a node. The activations of the largest vision transformers take a hundredth of it an image."""


def check_result(op: str, inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> None:
    """Refuse a node whose result could be larger than `MAX_BYTES`, from the shapes of its inputs.

    Raises:
        InterpreterError: it could.
    """
    arrays = [x for x in inputs if x is not None]
    if not arrays:
        return
    count, width = _elements(op, arrays, attributes), max(x.dtype.itemsize for x in arrays)
    if op in ("Cast", "DequantizeLinear", "ConstantOfShape"):
        width = 8  # of the result
    if count * width > MAX_BYTES:
        raise InterpreterError(f"the result would have {count:,} elements, more than {MAX_BYTES:,} bytes")


def check_broadcast(a: Array, b: Array) -> None:
    """The same for an op of two arrays that works element by element."""
    if a.size * b.size > MAX_BYTES // 8 and a.shape != b.shape:
        check_result("Add", (a, b), {})


def _elements(op: str, arrays: Sequence[Array], attributes: Mapping[str, Any]) -> int:
    """Number of elements of the largest thing that the op makes, or a bound."""
    x = arrays[0]
    count: int
    if op in ("Expand", "ConstantOfShape"):
        return math.prod(_broadcast(x.shape if op == "Expand" else (), _sizes(arrays[-1])))
    if op == "Tile":
        return x.size * math.prod(_sizes(arrays[-1]))
    if op == "Range" and len(arrays) == 3:
        start, limit, delta = (float(value.ravel()[0]) if value.size else 0.0 for value in arrays)
        steps = (limit - start) / delta if delta else 0.0
        return int(steps) + 1 if math.isfinite(steps) else MAX_BYTES
    if op == "Pad" and len(arrays) > 1:
        return math.prod(size + sum(map(abs, _sizes(arrays[1]))) for size in x.shape)
    if op == "Concat":
        return sum(each.size for each in arrays)
    if op == "Gather" and len(arrays) > 1:
        axis = attributes.get("axis", 0)
        length = x.shape[axis] if x.ndim and -x.ndim <= axis < x.ndim else 1
        count = x.size // max(length, 1) * arrays[1].size
        return count
    if op in ("MatMul", "MatMulInteger", "Gemm") and len(arrays) > 1 and x.ndim and arrays[1].ndim:
        a = x.shape if x.ndim > 1 else (1, x.size)
        b = arrays[1].shape if arrays[1].ndim > 1 else (arrays[1].size, 1)
        rows, columns = a[-1 if attributes.get("transA", 0) else -2], b[-2 if attributes.get("transB", 0) else -1]
        count = math.prod(_broadcast(a[:-2], b[:-2])) * rows * columns
        return count
    if op == "Conv" and len(arrays) > 1 and x.ndim > 2:
        reach = sum(map(abs, [*attributes.get("pads", []), *arrays[1].shape[2:]]))
        margins = math.prod(size + reach for size in x.shape[2:])
        count = x.shape[0] * margins * max(math.prod(arrays[1].shape[1:]), arrays[1].shape[0])
        return count
    if op in BROADCASTING:
        return math.prod(_broadcast(*(each.shape for each in arrays)))
    return x.size


def _sizes(x: Array) -> list[int]:
    return [int(value) for value in x.ravel()] if x.dtype.kind in "iu" else []


def _broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The largest sizes of shapes that are laid on each other, whether they fit or not."""
    depth = max(map(len, shapes), default=0)
    padded = [(1,) * (depth - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(int(np.max(np.abs(np.asarray(sizes, object)))) for sizes in zip(*padded, strict=True))
