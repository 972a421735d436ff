"""Activation functions on codes: at most 256 arguments, each result certified to be clear of a rounding boundary."""

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Activation
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import decode_result, encode, encode_result
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.emit.functions import emit_function
from mptq_export.quantize.certification.certify import Results
from mptq_export.recipe.schema import ActivationQuant


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The codes of the function, or of its floats where those are read too."""
    return encode_result(context, node, quant, key, _emit_table)


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """The codes as float32 in units of 2 ** -exponent."""
    return decode_result(context, node, exponent, _emit_table)


def _emit_table(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """DQ -> function -> Q (of every region), with its margin proved."""
    onnx, function = context.onnx, node.attributes(Activation).function
    source = context.read_codes(node, "input")
    results = Results.of_codes(context.recipe.activations[f"{node.name}.input"], function)
    context.proof.claim_certain(node.name, function, results, quant)
    x = onnx.dequantize(source.tensor, source.scale, source.zero_point, f"{node.name}.input")
    y = emit_function(onnx, function, x, node.name)
    return encode(onnx, y, quant, f"{key}.codes", step=quant.scale, flat=source.flat, results=results)
