"""Depthwise convolutions as one QLinearConv each, from codes to codes (rule 1 of docs/design.md).

onnxruntime runs a convolution in integers where codes follow it, and in floats elsewhere: what is read as floats has a
quantizer of its own.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from mptq_export.capture.graph import NCHW, NHWC, Node
from mptq_export.capture.ops import Depthwise
from mptq_export.emit.exact.forms import Codes, Floats
from mptq_export.emit.exact.linear import integer_operands
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.errors import MptqError

if TYPE_CHECKING:
    from mptq_export.emit.exact.emitter import Emitter


def emit_codes(emitter: "Emitter", node: Node, quant: ActivationQuant, name: str) -> Codes:
    """DQ x 3 -> Conv -> Q, channels first as ONNX has it; zeros around the map are codes of zero there too."""
    onnx, inputs = emitter.onnx, emitter.graph[node.inputs[0]]
    if quant.regions:  # a region each would leave the convolution in floats
        raise MptqError(f"{node.name}: a convolution cannot give codes with regions; export again without --recipe")
    source = emitter.full(emitter.codes(node, "input"), inputs.name)
    image = onnx.one("Transpose", [source.tensor], f"{node.name}.channels_first", perm=list(NCHW))
    op = node.attributes(Depthwise)
    kernel = list(op.kernel)
    weight = emitter.recipe.weights[node.name].codes.reshape(-1, 1, *kernel)
    operands, _ = integer_operands(emitter, node, replace(source, tensor=image), weight, 0, 1.0 / quant.scale)
    result = onnx.one(
        "Conv",
        operands,
        node.name,
        group=inputs.shape.dims[-1],
        kernel_shape=kernel,
        pads=list(op.pads),
        strides=list(op.stride),
    )
    codes = emitter.coded(result, 1.0, quant, f"{name}.codes", flat=False)
    tensor = onnx.one("Transpose", [codes.tensor], f"{name}.channels_last", perm=list(NHWC))
    return replace(codes, tensor=tensor)


def emit_floats(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """The codes as float32 in units of 2 ** -exponent."""
    key = f"{node.name}.output"
    return emitter.decoded(emit_codes(emitter, node, emitter.recipe.activations[key], key), key, exponent)
