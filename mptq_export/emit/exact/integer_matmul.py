"""The integer product of two activations, which both products of attention are (rule 1 of docs/design.md)."""

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.emit.builder import INT8
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.proof import INT32, Quantity
from mptq_export.emit.exact.values import Codes
from mptq_export.quantize.weights.code_range import PAIR_LIMIT

INT8_HIGH = 127


def emit_integer_matmul(
    context: Context, node: Node, left: Codes, right: Codes, *, names: tuple[str, str], result: str
) -> str:
    """DQ, DQ -> MatMul, its accumulator proved.

    Args:
        context: the emission.
        node: the matmul.
        left: codes of its left operand, in the shape of the graph.
        right: codes of its right operand, in the shape of the graph; the result is in units of both scales.
        names: of the operands as floats.
        result: name of the product.

    Returns:
        A float32 tensor.
    """
    inner = context.graph[node.inputs[1]].shape.dims[-2]
    advice = "the sequence is too long: use a smaller image"
    context.proof.claim(node.name, Quantity.ACCUMULATOR, inner * 255.0 * 255.0, INT32, advice=advice)
    a = context.onnx.dequantize(left.tensor, left.scale, left.zero_point, names[0])
    b = _dequantize_right(context, node, left, right, names[1])
    return context.onnx.one("MatMul", [a, b], result)


def _dequantize_right(context: Context, node: Node, left: Codes, right: Codes, name: str) -> str:
    """The right operand as floats: from int8 where no pair of products can leave int16, which is the faster kernel."""
    onnx, limit = context.onnx, 255.0 * PAIR_LIMIT
    pairs = 2.0 * left.high * right.high
    if right.high > INT8_HIGH or pairs > limit:
        return onnx.dequantize(right.tensor, right.scale, right.zero_point, name)
    context.proof.claim(node.name, Quantity.PAIR_SUM, pairs, limit, advice="the codes are too large")
    narrow = onnx.one("Cast", [right.tensor], f"{name}_int8", to=INT8)
    return onnx.dequantize(narrow, right.scale, right.zero_point, name, np.int8)
