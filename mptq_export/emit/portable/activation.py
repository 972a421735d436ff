"""Activation functions, GELU as the target spells it."""

import math

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Activation
from mptq_export.emit.functions import emit_function
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.values import Tensor

#: The first opset with a node for GELU.
_GELU_SINCE = 20


def emit_activation(context: PortableContext, node: Node) -> Tensor:
    """A function of single elements; nothing within it has codes."""
    x, function = context.read(node), node.attributes(Activation).function
    if function == "gelu" and (context.form.gelu == "erf" or context.form.opset < _GELU_SINCE):
        tensor = _erf_parts(context, x.tensor, node.name)
    else:
        tensor = emit_function(context.onnx, function, x.tensor, node.name)
    return Tensor(tensor=tensor, flat=x.flat, quant=None)


def _erf_parts(context: PortableContext, x: str, name: str) -> str:
    """`x (1 + erf(x / sqrt 2)) / 2`, in the order that compilers recognise."""
    onnx = context.onnx
    inner = onnx.one("Div", [x, onnx.scalar(math.sqrt(2.0))], f"{name}.inner")
    more = onnx.one("Add", [onnx.one("Erf", [inner], f"{name}.erf"), onnx.scalar(1.0)], f"{name}.more")
    return onnx.one("Mul", [onnx.one("Mul", [x, more], f"{name}.twice"), onnx.scalar(0.5)], name)
