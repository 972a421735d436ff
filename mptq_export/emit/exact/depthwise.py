"""Depthwise convolutions as one QLinearConv each, from codes to codes (rule 1 of docs/design.md).

onnxruntime runs a convolution in integers where codes follow it, and in floats elsewhere: what is read as floats has a
quantizer of its own.
"""

from dataclasses import replace

from mptq_export.capture.graph import NCHW, NHWC, Node
from mptq_export.capture.ops import Depthwise
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import decode_result, encode, encode_result
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.emit.exact.weighted import integer_operands
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.errors import MptqError


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The codes of the convolution, or of its floats where those are read too."""
    return encode_result(context, node, quant, key, _emit_kernel)


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """The codes as float32 in units of 2 ** -exponent."""
    return decode_result(context, node, exponent, _emit_kernel)


def _emit_kernel(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """DQ x 3 -> Conv -> Q, channels first as ONNX has it; zeros around the map are codes of zero there too."""
    onnx, inputs = context.onnx, context.graph[node.inputs[0]]
    if quant.regions:  # a region each would leave the convolution in floats
        raise MptqError(f"{node.name}: a convolution cannot give codes with regions; export again without --recipe")
    source = context.unflatten(context.read_codes(node, "input"), inputs.name)
    image = onnx.one("Transpose", [source.tensor], f"{node.name}.channels_first", perm=list(NCHW))
    op = node.attributes(Depthwise)
    kernel = list(op.kernel)
    weight = context.recipe.weights[node.name].codes.reshape(-1, 1, *kernel)
    operands, _ = integer_operands(context, node, replace(source, tensor=image), weight, axis=0, gain=1.0 / quant.scale)
    dilated = {"dilations": list(op.dilation)} if op.dilation != (1, 1) else {}
    result = onnx.one(
        "Conv",
        operands,
        node.name,
        group=inputs.shape.dims[-1],
        kernel_shape=kernel,
        pads=list(op.pads),
        strides=list(op.stride),
        **dilated,
    )
    codes = encode(onnx, result, quant, f"{key}.codes", step=1.0, flat=False)
    tensor = onnx.one("Transpose", [codes.tensor], f"{key}.channels_last", perm=list(NHWC))
    return replace(codes, tensor=tensor)
