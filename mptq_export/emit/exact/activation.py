"""Activation functions on codes: at most 256 arguments, each result certified to be clear of a rounding boundary."""

from typing import TYPE_CHECKING

from mptq_export.capture.activations import SIGMOID_SLOPES
from mptq_export.capture.graph import Node
from mptq_export.emit.exact.forms import Codes, Floats
from mptq_export.quantize.certification.certify import Results
from mptq_export.recipe.schema import ActivationQuant

if TYPE_CHECKING:
    from mptq_export.emit.exact.emitter import Emitter


def emit_codes(emitter: "Emitter", node: Node, quant: ActivationQuant, name: str) -> Codes:
    """DQ -> function -> Q (of every region), with its margin proved."""
    onnx, function = emitter.onnx, node.attrs["function"]
    source = emitter.codes(node, "input")
    results = Results.of_codes(emitter.recipe.activations[f"{node.name}.input"], function)
    emitter.proof.certain(node.name, function, results, quant)
    x = onnx.dequantize(source.tensor, source.scale, source.zero_point, f"{node.name}.input")
    if function in SIGMOID_SLOPES:
        slope = SIGMOID_SLOPES[function]
        steep = x if slope == 1 else onnx.one("Mul", [x, onnx.scalar(slope)], f"{node.name}.steep")
        y = onnx.one("Mul", [x, onnx.one("Sigmoid", [steep], f"{node.name}.sigmoid")], node.name)
    elif function == "hardswish":
        y = _hardswish(emitter, x, node.name)
    elif function in ("relu", "sigmoid", "tanh"):
        y = onnx.one(function.capitalize(), [x], node.name)
    else:
        y = onnx.one("Gelu", [x], node.name, approximate="tanh" if function == "gelu_tanh" else "none")
    return emitter.coded(y, quant.scale, quant, f"{name}.codes", source.flat, results=results)


def _hardswish(emitter: "Emitter", x: str, name: str) -> str:
    """`x (min(max(x + 3, 0), 6) / 6)`: each op rounds once."""
    onnx = emitter.onnx
    shifted = onnx.one("Add", [x, onnx.scalar(3.0)], f"{name}.shifted")
    cut = onnx.one("Clip", [shifted, onnx.scalar(0.0), onnx.scalar(6.0)], f"{name}.cut")
    share = onnx.one("Mul", [cut, onnx.scalar(1 / 6)], f"{name}.share")
    return onnx.one("Mul", [x, share], name)


def emit_floats(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """The codes as float32 in units of 2 ** -exponent."""
    key = f"{node.name}.output"
    return emitter.decoded(emit_codes(emitter, node, emitter.recipe.activations[key], key), key, exponent)
