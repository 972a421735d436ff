"""Ops whose parameters are constants: what depends on these alone is worked out once, not in every run.

A binding computes what its op computes. It returns None, or hands over to the op, where there is more to look at.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from kernels_ref.constants import Constants
from kernels_ref.errors import InterpreterError
from kernels_ref.limits import check_broadcast, check_result
from kernels_ref.model import Node
from kernels_ref.ops.arguments import integers
from kernels_ref.ops.quantize_linear import code_range, to_codes
from kernels_ref.ops.table import OPS
from kernels_ref.ops.types import Array

Compute = Callable[..., tuple[Array, ...]]


def op_of(node: Node, constants: Constants) -> tuple[Compute, tuple[str, ...]]:
    """What computes a node, and the names of the tensors that it takes."""
    op, attributes = OPS[node.op], node.attributes

    def plain(*inputs: Array | None) -> tuple[Array, ...]:
        check_result(node.op, inputs, attributes)
        return op(inputs, attributes)

    if node.op in _UFUNCS and all(node.inputs) and len(node.inputs) == _UFUNCS[node.op].nin:
        return _element_wise(_UFUNCS[node.op], "f" if node.op in _OF_FLOATS else "fiu", plain), node.inputs
    bind = _BINDINGS.get(node.op)
    if bind is None or not node.inputs or not all(name in constants for name in node.inputs[1:]):
        return plain, node.inputs
    parameters = [constants[name] for name in node.inputs[1:]]
    try:
        bound = bind(parameters, attributes, lambda x: plain(x, *parameters))
    except InterpreterError:
        bound = None  # the op itself says what is wrong, when it runs
    return (plain, node.inputs) if bound is None else (bound, node.inputs[:1])


def _element_wise(ufunc: np.ufunc, kinds: str, plain: Compute) -> Compute:
    def unary(x: Array) -> tuple[Array, ...]:
        return (ufunc(x),) if x.ndim and x.dtype.kind in kinds else plain(x)

    def binary(a: Array, b: Array) -> tuple[Array, ...]:
        check_broadcast(a, b)
        return (ufunc(a, b),) if a.ndim and a.dtype is b.dtype and a.dtype.kind in kinds else plain(a, b)

    return unary if ufunc.nin == 1 else binary


def _reshape(parameters: Sequence[Array], attributes: Mapping[str, Any], plain: Compute) -> Compute | None:
    sizes = integers(parameters[0], "shape") if parameters else [0]
    return None if 0 in sizes else lambda x: (x.reshape(sizes),)


def _transpose(parameters: Sequence[Array], attributes: Mapping[str, Any], plain: Compute) -> Compute | None:
    perm = attributes.get("perm", [])
    if not perm or sorted(perm) != list(range(len(perm))):
        return None
    return lambda x: (x.transpose(perm),) if x.ndim == len(perm) else plain(x)


def _split(parameters: Sequence[Array], attributes: Mapping[str, Any], plain: Compute) -> Compute | None:
    sizes = integers(parameters[0], "split") if parameters else [-1]
    axis = attributes.get("axis", 0)
    if min(sizes, default=-1) < 0 or len(sizes) != attributes["n_outputs"]:
        return None
    before = (slice(None),) * axis if axis >= 0 else (...,)
    after = () if axis >= 0 else (slice(None),) * (-axis - 1)
    ends = list(accumulate(sizes))
    pieces = [(*before, slice(end - size, end), *after) for size, end in zip(sizes, ends, strict=True)]

    def split(x: Array) -> tuple[Array, ...]:
        if not -x.ndim <= axis < x.ndim or x.shape[axis] != ends[-1]:
            return plain(x)
        return tuple([x[piece] for piece in pieces])

    return split


def _quantize(parameters: Sequence[Array], attributes: Mapping[str, Any], plain: Compute) -> Compute | None:
    if len(parameters) != 2 or any(x.size != 1 for x in parameters) or attributes.get("block_size", 0):
        return None
    scale, zero = (x.reshape(()) for x in parameters)
    code_range(zero.dtype)
    unscaled = bool(scale == 1)

    def quantize(x: Array) -> tuple[Array, ...]:
        if x.dtype != np.float32 or scale.dtype != np.float32:
            return plain(x)
        return (to_codes(x, zero) if unscaled else to_codes(x / scale, zero, in_place=True),)

    return quantize


_UFUNCS = {
    "Add": np.add,
    "Div": np.divide,
    "Mul": np.multiply,
    "Round": np.rint,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
}
_OF_FLOATS = ("Div", "Round", "Sqrt")
_BINDINGS = {
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Split": _split,
    "Transpose": _transpose,
}
