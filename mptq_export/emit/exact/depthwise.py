"""Depthwise convolutions, from codes to codes: what is read as floats has a quantizer of its own."""

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Depthwise, Windows
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import decode_result, encode_result
from mptq_export.emit.exact.convolution import emit_convolution
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.errors import MptqError


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The codes of the convolution, or of its floats where those are read too."""
    return encode_result(context, node, quant, key, _emit_kernel)


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """The codes as float32 in units of 2 ** -exponent."""
    return decode_result(context, node, exponent, _emit_kernel)


def _emit_kernel(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The convolution of a map with its channels last."""
    inputs, op = context.graph[node.inputs[0]], node.attributes(Depthwise)
    if quant.regions:  # a region each would leave the convolution in floats
        raise MptqError(f"{node.name}: a convolution cannot give codes with regions; export again without --recipe")
    source = context.unflatten(context.read_codes(node, "input"), inputs.name)
    return emit_convolution(
        context,
        node,
        source,
        context.recipe.weights[node.name].codes.reshape(-1, 1, *op.kernel),
        Windows(op.kernel, op.stride, op.pads, dilation=op.dilation),
        gain=1.0 / quant.scale,
        quant=quant,
        name=key,
        groups=inputs.shape.dims[-1],
    )
