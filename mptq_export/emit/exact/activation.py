"""Activation functions on codes: at most 256 arguments, each result certified to be clear of a rounding boundary."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mptq_export.capture.activations import FUNCTIONS, Function
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Activation
from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.exact.forms import Codes, Floats
from mptq_export.quantize.certification.certify import Results
from mptq_export.recipe.schema import ActivationQuant

if TYPE_CHECKING:
    from mptq_export.emit.exact.emitter import Emitter


def emit_codes(emitter: "Emitter", node: Node, quant: ActivationQuant, name: str) -> Codes:
    """DQ -> function -> Q (of every region), with its margin proved."""
    onnx, function = emitter.onnx, node.attributes(Activation).function
    source = emitter.codes(node, "input")
    results = Results.of_codes(emitter.recipe.activations[f"{node.name}.input"], function)
    emitter.proof.certain(node.name, function, results, quant)
    x = onnx.dequantize(source.tensor, source.scale, source.zero_point, f"{node.name}.input")
    y = _ONNX[function](onnx, x, node.name)
    return emitter.coded(y, quant.scale, quant, f"{name}.codes", source.flat, results=results)


def emit_floats(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """The codes as float32 in units of 2 ** -exponent."""
    key = f"{node.name}.output"
    return emitter.decoded(emit_codes(emitter, node, emitter.recipe.activations[key], key), key, exponent)


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
