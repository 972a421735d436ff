"""Attention times V, with an unnormalised integer softmax.

The product of the attention codes (`softmax.py`) with V is divided by their row sum after the integer matmul, so every
row has its own scale for free.
"""

from dataclasses import replace

from mptq_export.calibrate.sites import feeds_matmuls
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Matmul
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import encode
from mptq_export.emit.exact.integer_matmul import emit_integer_matmul
from mptq_export.emit.exact.softmax import emit_attention_codes
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.recipe.schema import ActivationQuant


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """Attention output as codes of what reads it."""
    # Scaled by v's scale alone, then divided: attention picks whole multiples of it, and their ratio to this scale is
    # often simple, so that values lie exactly between two codes. The simulation must round them the same way.
    result = _emit_product(context, node, 0)
    return encode(context.onnx, result.tensor, quant, f"{key}.codes", step=quant.scale, flat=False)


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """Attention output as float32 in units of 2 ** -exponent."""
    return context.share_product(node, exponent, _emit_product)


def _emit_product(context: Context, node: Node, exponent: int) -> Floats:
    """(u x V) / sum(u); a plain integer matmul where the operand is no softmax."""
    gain = 2.0**exponent
    v = context.unflatten(context.read_codes(node, "b"), node.inputs[1])
    scaled = replace(v, scale=v.scale * gain * node.attributes(Matmul).alpha)
    if not feeds_matmuls(context.graph, context.graph[node.inputs[0]]):
        a = context.unflatten(context.read_codes(node, "a"), node.inputs[0])
        names = (f"{node.name}.a", f"{node.name}.v")
        result = emit_integer_matmul(context, node, a, scaled, names=names, result=node.name)
        bound = context.graph[node.inputs[1]].shape.dims[-2] * 255.0 * v.largest * a.scale * v.scale * gain
        return Floats(tensor=result, exponent=exponent, bound=bound, flat=False)
    attention = emit_attention_codes(context, context.graph[node.inputs[0]], f"{node.name}.a")
    names, unnormalised = (f"{node.name}.weights", f"{node.name}.v"), f"{node.name}.unnormalised"
    product = emit_integer_matmul(context, node, attention.codes, scaled, names=names, result=unnormalised)
    result = context.onnx.one("Div", [product, attention.total], node.name)
    return Floats(tensor=result, exponent=exponent, bound=v.largest * v.scale * gain * 1.001, flat=False)
