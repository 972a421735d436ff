"""Linear layers and patch embeddings as one QGemm each (rule 1 of docs/design.md)."""

import numpy as np
from numpy.typing import NDArray

from mptq_export.calibrate.sites import Site
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import PatchEmbed, Softmax, ToPixels
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import encode, encode_floats
from mptq_export.emit.exact.proof import INT32, Quantity
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.quantize.weights.code_range import PAIR_LIMIT, CodeRange
from mptq_export.quantize.weights.codes import pair_sums
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.transform.channels import channel_numbers


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The codes of a linear layer for all of its readers, or of its floats where one tensor cannot serve them all."""
    readers = _code_readers(context, node)
    if not _can_share_codes(context, readers):
        return encode_floats(context, node, quant, key)
    return context.once(("codes", node.name), lambda: _emit_shared_codes(context, node, readers))  # q, k, v


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """QGemm with float32 output in units of 2 ** -exponent."""
    return context.share_product(node, exponent, _emit_product)


def _emit_product(context: Context, node: Node, exponent: int) -> Floats:
    tensor, bound = _gemm(context, node, 2.0**exponent)
    return Floats(tensor=tensor, exponent=exponent, bound=bound, flat=True)


def _emit_shared_codes(context: Context, node: Node, readers: list[Site]) -> Codes:
    """QGemm with uint8 output; the scales of all readers (q, k, v) are absorbed by per-channel weight scales.

    Readers of several widths have several zero points: those are added through the bias, and each reader clips its own
    channels after the movement.
    """
    width = node.params["weight"].shape[0]
    scale, zero_point = np.ones(width, np.float64), np.zeros(width, np.float64)
    quants = [context.recipe.activations[site.key] for site in readers]
    for site, quant in zip(readers, quants, strict=True):
        channels = _channels(context, site)
        scale[channels], zero_point[channels] = quant.scale, quant.zero_point
    name = f"{node.name}.codes"
    if len({_levels(quant) for quant in quants}) == 1:
        tensor, _ = _gemm(context, node, 1.0 / scale)
        return encode(context.onnx, tensor, quants[0], name, step=1.0, flat=True)
    tensor, _ = _gemm(context, node, 1.0 / scale, zero_point)
    return Codes(tensor=context.onnx.quantize(tensor, 1.0, 0, name), scale=1.0, zero_point=0, flat=True)


def _code_readers(context: Context, node: Node) -> list[Site]:
    """The sites that read the output through movement; empty where any other reader exists."""
    found: list[Site] = []
    for reader, name in context.graph.final_readers(node.name) or ():
        keys = [k for k, s in context.sites.items() if s.node.name == reader.name and s.value == name]
        if not keys or isinstance(reader.op, Softmax):
            return []
        found += [context.sites[key] for key in keys]
    return found


def _can_share_codes(context: Context, readers: list[Site]) -> bool:
    """Whether one uint8 tensor can serve all readers: there are some, and no channel has to have two codes."""
    quants = [context.recipe.activations[site.key] for site in readers]
    if any(quant.regions for quant in quants) and len({_levels(quant) for quant in quants}) > 1:
        return False
    chosen: dict[int, tuple[float, int]] = {}
    return bool(readers) and all(
        chosen.setdefault(channel, (quant.scale, quant.zero_point)) == (quant.scale, quant.zero_point)
        for site, quant in zip(readers, quants, strict=True)
        for channel in _channels(context, site).tolist()
    )


def _levels(quant: ActivationQuant) -> tuple[object, ...]:
    """What is left of a quantizer when its scale is folded into the weights."""
    return quant.zero_point, quant.low, quant.high, quant.regions


def _channels(context: Context, site: Site) -> NDArray[np.int64]:
    """Output channels of `node` that a site reads."""
    return np.unique(channel_numbers(context.graph, site.value).numpy())


def _gemm(
    context: Context, node: Node, gain: float | NDArray[np.float64], shift: float | NDArray[np.float64] = 0.0
) -> tuple[str, float]:
    """DQ, DQ, DQ -> Gemm; returns the float result (times `gain`, plus `shift`) and its proved bound."""
    source, codes = _input_rows(context, node), context.recipe.weights[node.name].codes
    operands, bound = integer_operands(
        context, node, source, np.ascontiguousarray(codes.T), axis=1, gain=gain, shift=shift
    )
    return context.onnx.one("Gemm", operands, node.name), bound


def integer_operands(
    context: Context,
    node: Node,
    source: Codes,
    codes: NDArray[np.int8],
    *,
    axis: int,
    gain: float | NDArray[np.float64],
    shift: float | NDArray[np.float64] = 0.0,
) -> tuple[list[str], float]:
    """DQ of input, weight and bias, as a Gemm or a Conv reads them.

    Args:
        context: the emission.
        node: a layer with weights.
        source: the codes that it reads.
        codes: its weight codes as they are stored.
        axis: their axis of output channels.
        gain: what the result is multiplied by.
        shift: what is added to the result then.

    Returns:
        Tensor names, and the proved bound of the result.
    """
    onnx, quant = context.onnx, context.recipe.weights[node.name]
    scale = (quant.scale.astype(np.float64) * gain).astype(np.float32)
    bias_scale = np.float32(source.scale) * scale
    bias = np.rint((quant.bias.astype(np.float64) * gain + shift) / bias_scale)
    bound = _prove(context, node, source, bias)
    weight = context.store(onnx, f"{node.name}.weight", codes, quant.bits)
    w_scale = onnx.constant(f"{node.name}.weight_scale", scale)
    w_zero = onnx.own_constant(f"{node.name}.weight_zero_point", np.zeros(len(scale), np.int8))
    b = onnx.constant(f"{node.name}.bias", bias.astype(np.int32))
    b_scale = onnx.constant(f"{node.name}.bias_scale", bias_scale)
    b_zero = onnx.constant(f"{node.name}.bias_zero_point", np.zeros(len(scale), np.int32))
    dq = [
        onnx.dequantize(source.tensor, source.scale, source.zero_point, f"{node.name}.input"),
        onnx.one("DequantizeLinear", [weight, w_scale, w_zero], f"{node.name}.weight.float", axis=axis),
        onnx.one("DequantizeLinear", [b, b_scale, b_zero], f"{node.name}.bias.float", axis=0),
    ]
    return dq, float((bound * bias_scale.astype(np.float64)).max())


def _prove(context: Context, node: Node, source: Codes, bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bounds on every accumulator; returns the largest |acc| of each channel."""
    quant = context.recipe.weights[node.name]
    codes = quant.codes.astype(np.float64)
    low, high = source.low - source.zero_point, source.high - source.zero_point
    positive, negative = codes.clip(min=0).sum(1), codes.clip(max=0).sum(1)
    top = high * positive + low * negative + bias
    bottom = low * positive + high * negative + bias
    # The kernels add raw u8 codes and correct for the zero point afterwards: both sums must fit.
    raw = 255 * np.abs(codes).sum(1) + np.abs(bias)
    advice = (
        "its bias is too large for its steps: fewer bits make them coarser (--pin 'NAME=W/A'), or check the checkpoint"
    )
    context.proof.claim(node.name, Quantity.ACCUMULATOR, float(raw.max()), INT32, advice=advice)
    # arm64 kernels without dot products overflow on -128 x -128 (signed weights, activations moved by 128); below 8
    # bits codes must fit their own width, else packing would change them.
    span = CodeRange.of(quant.bits)
    beyond = float(max(codes.max() - span.high, span.low - codes.min())) + span.high
    advice = "the recipe's codes are too large: export again without --recipe"
    context.proof.claim(node.name, Quantity.WEIGHT_CODE, beyond, float(span.high), advice=advice)
    pairs = float(pair_sums(quant.codes).max()) * source.high
    context.proof.claim(node.name, Quantity.PAIR_SUM, pairs, 255.0 * PAIR_LIMIT, advice=advice)
    return np.asarray(np.maximum(np.abs(top), np.abs(bottom)))


def _input_rows(context: Context, node: Node) -> Codes:
    if isinstance(node.op, PatchEmbed):
        return _patch_rows(context, node)
    return context.flatten(context.read_codes(node, "input"), node.inputs[0])


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
            tensor = onnx.one("Transpose", [tensor], f"{node.name}.channels_last", perm=[0, 2, 3, 1])
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
