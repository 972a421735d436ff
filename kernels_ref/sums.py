"""Sums over the last axis that BLAS may do in any order, because every order is exact.

    codes -> Cast(float32) -> ReduceSum                    float32: 255 times the length is below 2^24
    r = Round(...) -> Cast(float64) -> Mul(r, r) -> ReduceSum     float64: the sum is below 2^53

The second bound is looked for in the result. Squares of whole float32 numbers are exact in float64, and no partial sum
of them is above the whole sum. A sum of 2^53 or more, however it was rounded, comes out above 2^52.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from kernels_ref.constants import Constants
from kernels_ref.matmul import EXACT_F32
from kernels_ref.model import Graph, Node
from kernels_ref.ops.reduction import total
from kernels_ref.ops.types import Array

_SAFE_F64 = 2.0**52


@dataclass(frozen=True)
class LastAxisSum:
    """A sum over the last axis.

    Args:
        inputs: name of the tensor that it takes.
        keepdims: whether the axis stays, of size 1.
        add: (..., N) to (...), or None where it cannot be exact.
        terms: what is summed, for the plain sum otherwise.
    """

    inputs: tuple[str, ...]
    keepdims: bool
    add: Callable[[Array], Array | None]
    terms: Callable[[Array], Array]

    def __call__(self, x: Array) -> tuple[Array, ...]:
        """The sums."""
        sums = self.add(x) if x.ndim > 1 and x.dtype == np.float32 else None
        if sums is None:
            terms = self.terms(x)
            return (total(terms, (x.ndim - 1,), self.keepdims).astype(terms.dtype, copy=False),)
        return (sums[..., None] if self.keepdims else sums,)


def find_sums(
    graph: Graph, constants: Constants, codes: Container[str], whole: Container[str]
) -> dict[str, LastAxisSum]:
    """Every sum of one of the two forms, by the name of the tensor that its ReduceSum makes.

    Args:
        graph: the graph.
        constants: its constants.
        codes: names of the tensors that hold 8-bit codes.
        whole: names of the tensors that hold whole numbers.
    """
    producers = {name: node for node in graph.nodes for name in node.outputs if name}
    sums = {}
    for node in graph.nodes:
        if node.op != "ReduceSum" or len(node.inputs) != 2 or node.inputs[1] not in constants:
            continue
        if constants[node.inputs[1]].ravel().tolist() != [-1]:
            continue
        made, keepdims = producers.get(node.inputs[0]), bool(node.attributes.get("keepdims", 1))
        if made is None:
            continue
        if _casts_to(made, TensorProto.FLOAT) and made.inputs[0] in codes:
            sums[node.outputs[0]] = LastAxisSum((made.outputs[0],), keepdims, _sum_of_codes, lambda x: x)
        elif made.op == "Mul" and len(set(made.inputs)) == 1:
            wide = producers.get(made.inputs[0])
            if wide is not None and _casts_to(wide, TensorProto.DOUBLE) and wide.inputs[0] in whole:
                sums[node.outputs[0]] = LastAxisSum((wide.inputs[0],), keepdims, _sum_of_squares, _squares)
    return sums


def _casts_to(node: Node, to: int) -> bool:
    return node.op == "Cast" and node.attributes.get("to") == to


def _sum_of_codes(x: Array) -> Array | None:
    if x.shape[-1] * 255 >= EXACT_F32:
        return None
    return np.asarray(x @ np.ones(x.shape[-1], np.float32))


def _sum_of_squares(x: Array) -> Array | None:
    wide = x.astype(np.float64)
    sums = np.asarray(np.vecdot(wide, wide))
    return sums if sums.max(initial=0) < _SAFE_F64 else None


def _squares(x: Array) -> Array:
    wide = x.astype(np.float64)
    return np.asarray(wide * wide)
