"""Activation functions, each as one node where runtimes have it, GELU as the target spells it."""

import math
from collections.abc import Callable

from mptq_export.capture.function_names import Function
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
    in_parts = context.form.gelu == "erf" or context.form.opset < _GELU_SINCE
    if function == "hardswish":
        tensor = context.onnx.one("HardSwish", [x.tensor], node.name)
    elif function in _PARTS and in_parts:
        tensor = _PARTS[function](context, x.tensor, node.name)
    else:
        tensor = emit_function(context.onnx, function, x.tensor, node.name)
    return Tensor(tensor=tensor, flat=x.flat, quant=None)


def _erf_parts(context: PortableContext, x: str, name: str) -> str:
    """`x (1 + erf(x / sqrt 2)) / 2`, in the order that compilers recognise."""
    onnx = context.onnx
    inner = onnx.one("Div", [x, onnx.scalar(math.sqrt(2.0))], f"{name}.inner")
    return _half(context, x, onnx.one("Erf", [inner], f"{name}.erf"), name)


def _tanh_parts(context: PortableContext, x: str, name: str) -> str:
    """`x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, in the order that compilers recognise."""
    onnx = context.onnx
    cube = onnx.one("Pow", [x, onnx.scalar(3.0)], f"{name}.cube")
    bent = onnx.one("Add", [x, onnx.one("Mul", [cube, onnx.scalar(0.044715)], f"{name}.bend")], f"{name}.bent")
    inner = onnx.one("Mul", [bent, onnx.scalar(math.sqrt(2.0 / math.pi))], f"{name}.inner")
    return _half(context, x, onnx.one("Tanh", [inner], f"{name}.tanh"), name)


def _half(context: PortableContext, x: str, curve: str, name: str) -> str:
    """`x (1 + curve) / 2`."""
    onnx = context.onnx
    more = onnx.one("Add", [curve, onnx.scalar(1.0)], f"{name}.more")
    return onnx.one("Mul", [onnx.one("Mul", [x, more], f"{name}.twice"), onnx.scalar(0.5)], name)


#: Functions with a node of their own since `_GELU_SINCE`, in the ops of before.
_PARTS: dict[Function, Callable[[PortableContext, str, str], str]] = {"gelu": _erf_parts, "gelu_tanh": _tanh_parts}
