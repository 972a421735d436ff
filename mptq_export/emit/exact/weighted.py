"""What layers with weights have in common: integer operands, their bounds, and the Gemm (rule 1 of docs/design.md)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mptq_export.capture.graph import Node
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.proof import INT32, Quantity
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.quantize.weights.code_range import PAIR_LIMIT, CodeRange
from mptq_export.quantize.weights.quantize_weight import pair_sums
from mptq_export.recipe.weight_levels import LARGEST


def emit_gemm(
    context: Context,
    node: Node,
    rows: Codes,
    gain: float | NDArray[np.float64],
    shift: float | NDArray[np.float64] = 0.0,
) -> tuple[str, float]:
    """DQ, DQ, DQ -> Gemm.

    Args:
        context: the emission.
        node: a layer whose weights are [N, K].
        rows: what it reads, [rows, K].
        gain: what the result is multiplied by.
        shift: what is added to the result then.

    Returns:
        The float result [rows, N], and its proved bound.
    """
    weight = np.ascontiguousarray(context.recipe.weights[node.name].codes.T)
    operands, bound = integer_operands(context, node, rows, weight, axis=1, gain=gain, shift=shift)
    return context.onnx.one("Gemm", operands, node.name), bound


def emit_gemm_floats(
    context: Context, node: Node, exponent: int, read_rows: Callable[[Context, Node], Codes]
) -> Floats:
    """QGemm with float32 output in units of 2 ** -exponent, of the rows that the layer reads."""

    def product(context: Context, node: Node, exponent: int) -> Floats:
        tensor, bound = emit_gemm(context, node, read_rows(context, node), 2.0**exponent)
        return Floats(tensor=tensor, exponent=exponent, bound=bound, flat=True)

    return context.share_product(node, exponent, product)


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
    weight = context.store(onnx, context.weight_names[node.name], codes, quant.bits, quant.regions)
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
    # bits codes must fit their own width, else packing would change them; with regions they are looked up.
    code_range = CodeRange.of(quant.bits) if quant.regions is None else CodeRange(-LARGEST, LARGEST, None)
    beyond = float(max(codes.max() - code_range.high, code_range.low - codes.min())) + code_range.high
    advice = "the recipe's codes are too large: export again without --recipe"
    context.proof.claim(node.name, Quantity.WEIGHT_CODE, beyond, float(code_range.high), advice=advice)
    pairs = float(pair_sums(quant.codes).max()) * source.high
    context.proof.claim(node.name, Quantity.PAIR_SUM, pairs, 255.0 * PAIR_LIMIT, advice=advice)
    return np.asarray(np.maximum(np.abs(top), np.abs(bottom)))
