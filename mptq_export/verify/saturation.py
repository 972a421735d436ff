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
from onnx import numpy_helper

from kernels_ref import InterpreterError
from mptq_export.verify.clearance import ValueSource

#: Position of the left and of the right operand.
_OPERANDS = {
    "ConvInteger": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "QGemm": (0, 3),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
}
_MOVES = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_GREATEST_SUM = 2**15 - 1
_LEAST = -128


def may_saturate(optimised: onnx.ModelProto, dtypes: Mapping[str, str], source: ValueSource) -> tuple[str, ...]:
    """The integer kernels that may, a sentence each.

    Args:
        optimised: onnxruntime's optimised graph.
        dtypes: NumPy's type name of each tensor.
        source: knows the codes that a tensor of the file can hold.
    """
    constants = {tensor.name: tensor for tensor in optimised.graph.initializer}
    known = _Codes(optimised, source)
    found = []
    for node in optimised.graph.node:
        if node.op_type not in _OPERANDS:
            continue
        a, w = (node.input[position] for position in _OPERANDS[node.op_type])
        if dtypes.get(w) != "int8":
            continue
        if w in constants:
            codes = numpy_helper.to_array(constants[w]).astype(np.int64)
            pairs = max(_greatest_pair(rows) for rows in _summed_axes(node, codes))
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


def _summed_axes(node: onnx.NodeProto, codes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Weights as (channels, K), in every order in which a kernel may sum them."""
    if codes.ndim > 2 and "Conv" in node.op_type:
        return [codes.reshape(len(codes), -1), np.moveaxis(codes, 1, -1).reshape(len(codes), -1)]
    if any(item.name == "transB" and item.i for item in node.attribute):
        return [codes]
    return [np.moveaxis(codes, -2, -1).reshape(-1, codes.shape[-2])]


def _greatest_pair(rows: NDArray[np.int64]) -> int:
    """Largest |w[2i]| + |w[2i + 1]|; an odd K leaves its last weight alone."""
    size = np.abs(rows)
    pairs = np.add.reduceat(size, np.arange(0, size.shape[1], 2), axis=1)
    return int(pairs.max(initial=0))


class _Codes:
    """How great the codes of tensors are."""

    def __init__(self, optimised: onnx.ModelProto, source: ValueSource) -> None:
        self._source = source
        self._constants = {tensor.name: tensor for tensor in optimised.graph.initializer}
        self._producers = {name: node for node in optimised.graph.node for name in node.output}

    def greatest(self, name: str, missing: int) -> int:
        """The greatest size of a tensor's codes; `missing` where they are not known."""
        node = self._producers.get(name)
        while node is not None and node.op_type in _MOVES:
            name = node.input[0]
            node = self._producers.get(name)
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
        if any(name not in self._constants for name in node.input[1:]):
            return None
        scale, *zero = (numpy_helper.to_array(self._constants[name]).astype(np.float64) for name in node.input[1:])
        if scale.size != 1 or any(value.size != 1 for value in zero) or not np.isfinite(real).all():
            return None
        code = np.rint(real / scale.ravel()[0]) + (zero[0].ravel()[0] if zero else 0)
        return np.asarray(code.clip(-128, 255))
