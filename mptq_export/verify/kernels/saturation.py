"""Kernels whose sums a CPU without VNNI may saturate: there the bits depend on the CPU.

On x86-64 with AVX2 alone, a product of uint8 activations and int8 weights adds two products in a saturating int16:
`a[2i] w[2i] + a[2i + 1] w[2i + 1]`. It holds what activations up to a and weights of |w[2i]| + |w[2i + 1]| <= 32767 / a
give. uint8 weights are widened first and cannot saturate. On arm64 without dot products, a kernel takes the uint8 code
0 as -128 and adds two products in int16: of two weights of -128 the sum is one too many.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kernels_ref import InterpreterError
from mptq_export.verify.graph import GraphReader
from mptq_export.verify.kernels.operands import INTEGER_OPERANDS
from mptq_export.verify.reference import ValueSource

_MOVES = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_GREATEST_SUM = 2**15 - 1
PAIR_SUM_SAFE = _GREATEST_SUM // 255
"""Largest |w[2i]| + |w[2i + 1]| with which any uint8 code stays inside int16."""
_LEAST = -128


def may_saturate(optimised: onnx.ModelProto, dtypes: Mapping[str, str], source: ValueSource) -> tuple[str, ...]:
    """The integer kernels that may, a sentence each.

    Args:
        optimised: onnxruntime's optimised graph.
        dtypes: NumPy's type name of each tensor.
        source: knows the codes that a tensor of the file can hold.
    """
    graph = GraphReader(optimised)
    known = _Codes(graph, source)
    found = []
    for node in graph.nodes:
        if node.op_type not in INTEGER_OPERANDS:
            continue
        left, right, _ = INTEGER_OPERANDS[node.op_type]
        a, w = node.input[left], node.input[right]
        if dtypes.get(w) != "int8":
            continue
        codes = graph.constant(w)
        if codes is not None:
            pairs = largest_pair_sum(node, codes)
            if ((_summed_axes(node, codes)[0] == _LEAST).sum(axis=1) > 1).any():
                found.append(
                    f"{node.op_type} of {node.output[0]} may saturate on arm64 without dot products: two weights of "
                    f"one channel are {_LEAST}"
                )
        else:
            pairs = 2 * known.greatest(w, 128)
        greatest = 255
        if greatest * pairs > _GREATEST_SUM and dtypes.get(a) == "uint8":  # int8 activations are raised to uint8
            greatest = known.greatest(a, greatest)
        if greatest * pairs > _GREATEST_SUM:
            found.append(
                f"{node.op_type} of {node.output[0]} may saturate on x86 without VNNI: codes up to {greatest} meet "
                f"neighbouring weights of together {pairs}"
            )
    return tuple(found)


def largest_pair_sum(node: onnx.NodeProto, codes: NDArray[Any]) -> int:
    """Largest |w[2i]| + |w[2i + 1]| of a kernel's weights, along the axis that it sums over.

    Args:
        node: the kernel.
        codes: its weights, as they are stored.
    """
    return max(_greatest_pair(rows) for rows in _summed_axes(node, codes))


def _summed_axes(node: onnx.NodeProto, codes: NDArray[Any]) -> list[NDArray[Any]]:
    """Weights as (channels, K), in every order in which a kernel may sum them."""
    if codes.ndim > 2 and "Conv" in node.op_type:
        return [codes.reshape(len(codes), -1), np.moveaxis(codes, 1, -1).reshape(len(codes), -1)]
    if any(item.name == "transB" and item.i for item in node.attribute):
        return [codes]
    return [np.moveaxis(codes, -2, -1).reshape(-1, codes.shape[-2])]


def _greatest_pair(rows: NDArray[Any]) -> int:
    """Of (channels, K); an odd K leaves its last weight alone."""
    size = np.abs(rows.astype(np.int64))
    pairs = np.add.reduceat(size, np.arange(0, size.shape[1], 2), axis=1)
    return int(pairs.max(initial=0))


class _Codes:
    """How great the codes of tensors are."""

    def __init__(self, graph: GraphReader, source: ValueSource) -> None:
        self._graph, self._source = graph, source

    def greatest(self, name: str, missing: int) -> int:
        """The greatest size of a tensor's codes; `missing` where they are not known."""
        node = self._graph.producers.get(name)
        while node is not None and node.op_type in _MOVES:
            name = node.input[0]
            node = self._graph.producers.get(name)
        found = [self._values(name)]
        if node is not None and node.op_type == "QuantizeLinear" and (real := self._values(node.input[0])) is not None:
            found.append(self._quantized(node, real))
        return min((int(np.abs(codes).max()) for codes in found if codes is not None and codes.size), default=missing)

    def _values(self, name: str) -> NDArray[Any] | None:
        try:
            values = self._source.every_value(name)
        except InterpreterError:
            return None
        return None if values is None else values.astype(np.float64)

    def _quantized(self, node: onnx.NodeProto, real: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The codes of all values that a QuantizeLinear can read."""
        scale, *zero = (self._graph.scalar(name) for name in node.input[1:])
        if scale is None or None in zero or not np.isfinite(real).all():
            return None
        code = np.rint(real / scale) + (zero[0] or 0.0 if zero else 0.0)
        return np.asarray(code.clip(-128, 255))
