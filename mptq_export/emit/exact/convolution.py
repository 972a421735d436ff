"""Convolutions as one QLinearConv each, from codes to codes (rule 1 of docs/design.md).

onnxruntime runs a convolution in integers where codes follow it, and in floats elsewhere: what is read as floats has a
quantizer of its own, or is a Gemm of windows.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mptq_export.capture.graph import NCHW, NHWC, Node
from mptq_export.capture.ops import Windows
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import encode
from mptq_export.emit.exact.proof import Quantity
from mptq_export.emit.exact.values import Codes
from mptq_export.emit.exact.weighted import integer_operands
from mptq_export.quantize.weights.code_range import PAIR_LIMIT
from mptq_export.quantize.weights.quantize_weight import pair_sums, turned
from mptq_export.recipe.schema import ActivationQuant

_GREATEST_PAIR = 255.0 * PAIR_LIMIT


def windows_of_convolution(context: Context, node: Node) -> Windows | None:
    """The windows that a linear layer reads, where it may be a convolution; None where it is a Gemm.

    A Gemm sums the channels of one position after the other. A convolution may do so too, or sum the positions of one
    channel after the other: neighbours have to be small in both orders.
    """
    read = context.graph[node.inputs[0]].op
    if not isinstance(read, Windows) or read.edge or read.kernel == (1, 1):
        return None
    return read if _turned_pairs(context, node, read) <= _GREATEST_PAIR else None


def emit_convolution_of(
    context: Context, node: Node, windows: Windows, gain: NDArray[np.float64], quant: ActivationQuant
) -> Codes:
    """A linear layer over windows, as a convolution of the map.

    Args:
        context: the emission.
        node: the layer.
        windows: what `windows_of_convolution` gave.
        gain: what each channel of the result is multiplied by.
        quant: quantizer of the result, but for its scale.
    """
    pairs = _turned_pairs(context, node, windows)
    context.proof.claim(node.name, Quantity.PAIR_SUM, pairs, _GREATEST_PAIR, advice="export again without --recipe")
    image = context.graph[node.inputs[0]].inputs[0]
    source = context.unflatten(context.read_codes_of(image, f"{node.name}.input"), image)
    codes = context.recipe.weights[node.name].codes
    kernels = codes.reshape(len(codes), *windows.kernel, -1).transpose(0, 3, 1, 2)
    kernels = np.ascontiguousarray(kernels)
    return emit_convolution(context, node, source, kernels, windows, gain=gain, quant=quant, name=node.name)


def emit_convolution(
    context: Context,
    node: Node,
    source: Codes,
    kernels: NDArray[np.int8],
    windows: Windows,
    *,
    gain: float | NDArray[np.float64],
    quant: ActivationQuant,
    name: str,
    groups: int = 1,
) -> Codes:
    """DQ x 3 -> Conv -> Q, channels first as ONNX has it; zeros around the map are codes of zero there too.

    Args:
        context: the emission.
        node: the layer.
        source: the map, channels last.
        kernels: weight codes, [N, C / groups, kh, kw].
        windows: kernel, stride, pads and dilation.
        gain: what the result is multiplied by.
        quant: quantizer of the result, but for its scale; without regions.
        name: of the codes.
        groups: how many parts of the channels are convolved apart.
    """
    onnx = context.onnx
    image = onnx.one("Transpose", [source.tensor], f"{node.name}.channels_first", perm=list(NCHW))
    operands, _ = integer_operands(context, node, replace(source, tensor=image), kernels, axis=0, gain=gain)
    dilated = {"dilations": list(windows.dilation)} if windows.dilation != (1, 1) else {}
    result = onnx.one(
        "Conv",
        operands,
        node.name,
        group=groups,
        kernel_shape=list(windows.kernel),
        pads=list(windows.pads),
        strides=list(windows.stride),
        **dilated,
    )
    codes = encode(onnx, result, quant, f"{name}.codes", step=1.0, flat=False)
    tensor = onnx.one("Transpose", [codes.tensor], f"{name}.channels_last", perm=list(NHWC))
    return replace(codes, tensor=tensor)


def _turned_pairs(context: Context, node: Node, windows: Windows) -> float:
    """The largest pair sum where the positions of one channel are summed one after the other."""
    codes, source = context.recipe.weights[node.name].codes, context.recipe.activations[f"{node.name}.input"]
    return float(pair_sums(turned(codes, windows.kernel)).max()) * source.high
