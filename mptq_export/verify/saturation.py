"""Kernels whose sums a CPU without VNNI may saturate: there the bits depend on the CPU.

On x86-64 with AVX2 alone, a product of uint8 activations and int8 weights adds two products in a saturating int16:
`a[2i] w[2i] + a[2i + 1] w[2i + 1]`. It holds what activations up to a and weights of |w[2i]| + |w[2i + 1]| <= 32767 / a
give. uint8 weights are widened first and cannot saturate.
"""

from collections.abc import Mapping

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
_GREATEST_SUM = 2**15 - 1


def may_saturate(optimised: onnx.ModelProto, dtypes: Mapping[str, str], source: ValueSource) -> tuple[str, ...]:
    """The integer kernels that may, a sentence each.

    Args:
        optimised: onnxruntime's optimised graph.
        dtypes: NumPy's type name of each tensor.
        source: knows the codes that a tensor of the file can hold.
    """
    constants = {tensor.name: tensor for tensor in optimised.graph.initializer}
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
        else:
            pairs = 2 * _greatest(w, source, 128)
        greatest = 255
        if greatest * pairs > _GREATEST_SUM and dtypes.get(a) == "uint8":  # int8 activations are raised to uint8
            greatest = _greatest(a, source, greatest)
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


def _greatest(name: str, source: ValueSource, missing: int) -> int:
    """The greatest size of a tensor's codes; `missing` where they are not known."""
    try:
        values = source.every_value(name)
    except InterpreterError:
        return missing
    return missing if values is None or not values.size else int(np.abs(values.astype(np.int64)).max())
