"""Patch embeddings: pixels are codes (rule 7 of docs/design.md), cut into patches for one QGemm."""

import numpy as np

from mptq_export.capture.graph import NHWC, Node
from mptq_export.capture.ops import PatchEmbed, ToPixels
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.emit.exact.weighted import emit_gemm_floats


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """QGemm with float32 output in units of 2 ** -exponent."""
    return emit_gemm_floats(context, node, exponent, _patch_rows)


def _patch_rows(context: Context, node: Node) -> Codes:
    """Pixel codes cut into patches: [B * patches, ph * pw * C], channels last (the order of `patches`)."""
    onnx = context.onnx
    quant = context.recipe.activations[f"{node.name}.input"]
    ph, pw = node.attributes(PatchEmbed).patch
    _, gh, gw, _ = node.shape.dims
    channels = context.graph[node.inputs[0]].shape.dims[1]
    if context.input_type == "uint8":
        tensor = "input"
    else:
        tensor = onnx.quantize(_pixels(context, node.inputs[0]), quant.scale, quant.zero_point, f"{node.name}.pixels")
        if channels > 1:  # one swap of six axes takes eight times as long as these two moves
            tensor = onnx.one("Transpose", [tensor], f"{node.name}.channels_last", perm=list(NHWC))
    tensor = onnx.reshape(tensor, [-1, gh, ph, gw, pw * channels], f"{node.name}.grid")
    tensor = onnx.one("Transpose", [tensor], f"{node.name}.patches", perm=[0, 1, 3, 2, 4])
    tensor = onnx.reshape(tensor, [-1, ph * pw * channels], f"{node.name}.rows")
    return Codes.of(quant, tensor, flat=True)


def _pixels(context: Context, value: str) -> str:
    """The float32 input, scaled back to pixels where it is normalised."""
    node = context.graph[value]
    if not isinstance(node.op, ToPixels):
        return "input"
    gain, offset = (np.array(k, np.float32).reshape(1, -1, 1, 1) for k in (node.op.gain, node.op.offset))
    scaled = context.onnx.one("Mul", ["input", context.onnx.constant("pixels.gain", gain)], "pixels.scaled")
    return context.onnx.one("Add", [scaled, context.onnx.constant("pixels.offset", offset)], "pixels")
