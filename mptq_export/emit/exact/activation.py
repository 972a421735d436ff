"""Activation functions on codes: at most 256 arguments, each result certified to be clear of a rounding boundary."""

from mptq_export.capture.activations import SIGMOID_SLOPES
from mptq_export.capture.graph import Node
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import decode_result, encode, encode_floats, result_is_quantized
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.quantize.certification.certify import Results
from mptq_export.recipe.schema import ActivationQuant


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The codes of the function, or of its floats where those are read too."""
    emit = encode_floats if result_is_quantized(context, node) else _emit_table
    return emit(context, node, quant, key)


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """The codes as float32 in units of 2 ** -exponent."""
    return decode_result(context, node, exponent, _emit_table)


def _emit_table(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """DQ -> function -> Q (of every region), with its margin proved."""
    onnx, function = context.onnx, node.attrs["function"]
    source = context.read_codes(node, "input")
    results = Results.of_codes(context.recipe.activations[f"{node.name}.input"], function)
    context.proof.claim_certain(node.name, function, results, quant)
    x = onnx.dequantize(source.tensor, source.scale, source.zero_point, f"{node.name}.input")
    if function in SIGMOID_SLOPES:
        slope = SIGMOID_SLOPES[function]
        steep = x if slope == 1 else onnx.one("Mul", [x, onnx.scalar(slope)], f"{node.name}.steep")
        y = onnx.one("Mul", [x, onnx.one("Sigmoid", [steep], f"{node.name}.sigmoid")], node.name)
    elif function == "hardswish":
        y = _hardswish(context, x, node.name)
    elif function in ("relu", "sigmoid", "tanh"):
        y = onnx.one(function.capitalize(), [x], node.name)
    else:
        y = onnx.one("Gelu", [x], node.name, approximate="tanh" if function == "gelu_tanh" else "none")
    return encode(onnx, y, quant, f"{key}.codes", step=quant.scale, flat=source.flat, results=results)


def _hardswish(context: Context, x: str, name: str) -> str:
    """`x (min(max(x + 3, 0), 6) / 6)`: each op rounds once."""
    onnx = context.onnx
    shifted = onnx.one("Add", [x, onnx.scalar(3.0)], f"{name}.shifted")
    cut = onnx.one("Clip", [shifted, onnx.scalar(0.0), onnx.scalar(6.0)], f"{name}.cut")
    share = onnx.one("Mul", [cut, onnx.scalar(1 / 6)], f"{name}.share")
    return onnx.one("Mul", [x, share], name)
