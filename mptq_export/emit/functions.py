"""Activation functions in ONNX, as every form of the file has them."""

from collections.abc import Callable
from functools import partial

from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.function_names import Function
from mptq_export.emit.builder import OnnxBuilder


def emit_function(onnx: OnnxBuilder, function: Function, x: str, name: str) -> str:
    """The function of float32 `x`, under a name."""
    return _ONNX[function](onnx, x, name)


def _one_op(op_type: str, **attributes: str) -> Callable[[OnnxBuilder, str, str], str]:
    return lambda onnx, x, name: onnx.one(op_type, [x], name, **attributes)


def _sigmoid_weighted(function: Function, onnx: OnnxBuilder, x: str, name: str) -> str:
    """`x * sigmoid(slope * x)`."""
    slope = FUNCTIONS[function].slope or 1.0
    steep = x if slope == 1 else onnx.one("Mul", [x, onnx.scalar(slope)], f"{name}.steep")
    return onnx.one("Mul", [x, onnx.one("Sigmoid", [steep], f"{name}.sigmoid")], name)


def _hardswish(onnx: OnnxBuilder, x: str, name: str) -> str:
    """`x (min(max(x + 3, 0), 6) / 6)`: each op rounds once."""
    shifted = onnx.one("Add", [x, onnx.scalar(3.0)], f"{name}.shifted")
    cut = onnx.one("Clip", [shifted, onnx.scalar(0.0), onnx.scalar(6.0)], f"{name}.cut")
    share = onnx.one("Mul", [cut, onnx.scalar(1 / 6)], f"{name}.share")
    return onnx.one("Mul", [x, share], name)


#: Every function in ONNX: from the builder, the tensor of the argument, and the name of the result.
_ONNX: dict[Function, Callable[[OnnxBuilder, str, str], str]] = {
    "gelu": _one_op("Gelu", approximate=FUNCTIONS["gelu"].approximate),
    "gelu_tanh": _one_op("Gelu", approximate=FUNCTIONS["gelu_tanh"].approximate),
    "silu": partial(_sigmoid_weighted, "silu"),
    "quick_gelu": partial(_sigmoid_weighted, "quick_gelu"),
    "sigmoid": _one_op("Sigmoid"),
    "tanh": _one_op("Tanh"),
    "hardswish": _hardswish,
    "relu": _one_op("Relu"),
}
