"""Attention with an unnormalised integer softmax.

Scores are uint8 codes. Exp sees the difference to the row maximum (a few hundred integers times the score scale,
all certified) and gives uint8 codes whose row maximum is the top code. Their row sum is an exact integer; the product
with V is divided by it after the integer matmul, so every row has its own scale for free.
"""

import numpy as np
from numpy.typing import NDArray

from mptq_export.calibrate.sites import feeds_matmuls
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Matmul, Movement
from mptq_export.capture.score_path import score_path
from mptq_export.emit.builder import INT8
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import encode
from mptq_export.emit.exact.proof import FLOAT32_INTEGER, INT32, NOT_CERTIFIED, Quantity
from mptq_export.emit.exact.values import Attention, Codes, Floats
from mptq_export.emit.movement import move
from mptq_export.quantize.activations.score_bias import ScoreConstants, added_span
from mptq_export.quantize.certification.certify import Results
from mptq_export.quantize.weights.code_range import PAIR_LIMIT
from mptq_export.recipe.schema import ActivationQuant

INT8_HIGH = 127


def emit_matmul_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """Attention output as codes of what reads it."""
    # Scaled by v's scale alone, then divided: attention picks whole multiples of it, and their ratio to this scale is
    # often simple, so that values lie exactly between two codes. The simulation must round them the same way.
    result = _emit_product(context, node, 0)
    return encode(context.onnx, result.tensor, quant, f"{key}.codes", step=quant.scale, flat=False)


def emit_matmul_floats(context: Context, node: Node, exponent: int) -> Floats:
    """Attention output as float32 in units of 2 ** -exponent."""
    return context.share_product(node, exponent, _emit_product)


def _emit_product(context: Context, node: Node, exponent: int) -> Floats:
    """(u x V) / sum(u); a plain integer matmul where the operand is no softmax."""
    onnx, gain = context.onnx, 2.0**exponent
    v = context.unflatten(context.read_codes(node, "b"), node.inputs[1])
    inner = context.graph[node.inputs[1]].shape.dims[-2]
    v_scale = v.scale * gain * node.attributes(Matmul).alpha
    if not feeds_matmuls(context.graph, context.graph[node.inputs[0]]):
        a = context.unflatten(context.read_codes(node, "a"), node.inputs[0])
        _prove_matmul(context, node, inner)
        a_float = onnx.dequantize(a.tensor, a.scale, a.zero_point, f"{node.name}.a")
        v_float = _dequantize_right(context, node, v, name="v", scale=v_scale, left_high=a.high)
        result = onnx.one("MatMul", [a_float, v_float], node.name)
        bound = inner * 255.0 * v.largest * a.scale * v.scale * gain
        return Floats(tensor=result, exponent=exponent, bound=bound, flat=False)
    weights = _softmax(context, context.graph[node.inputs[0]], f"{node.name}.a")
    _prove_matmul(context, node, inner)
    u = onnx.dequantize(weights.codes, 1.0, 0, f"{node.name}.weights")
    v_float = _dequantize_right(context, node, v, name="v", scale=v_scale, left_high=weights.high)
    product = onnx.one("MatMul", [u, v_float], f"{node.name}.unnormalised")
    result = onnx.one("Div", [product, weights.total], node.name)
    return Floats(tensor=result, exponent=exponent, bound=v.largest * v.scale * gain * 1.001, flat=False)


def emit_softmax_floats(context: Context, node: Node, exponent: int) -> Floats:
    """The softmax itself, for what is no matmul: codes divided by their sum."""
    onnx = context.onnx
    weights = _softmax(context, node, f"{node.name}.output")
    u = onnx.dequantize(weights.codes, 2.0**exponent, 0, f"{node.name}.weights{exponent}")
    tensor = onnx.one("Div", [u, weights.total], f"{node.name}.x{exponent}")
    return Floats(tensor=tensor, exponent=exponent, bound=2.0**exponent, flat=False)


def _dequantize_right(context: Context, node: Node, codes: Codes, *, name: str, scale: float, left_high: int) -> str:
    """The right operand as floats: from int8 where no pair of products can leave int16, which is the faster kernel.

    Args:
        context: the emission.
        node: the matmul.
        codes: of the right operand.
        name: of the right operand.
        scale: that the matmul gives it.
        left_high: largest code of the left operand.
    """
    onnx, limit = context.onnx, 255.0 * PAIR_LIMIT
    pairs = 2.0 * left_high * codes.high
    if codes.high > INT8_HIGH or pairs > limit:
        return onnx.dequantize(codes.tensor, scale, codes.zero_point, f"{node.name}.{name}")
    context.proof.claim(node.name, Quantity.PAIR_SUM, pairs, limit, advice="the codes are too large")
    narrow = onnx.one("Cast", [codes.tensor], f"{node.name}.{name}_int8", to=INT8)
    return onnx.dequantize(narrow, scale, codes.zero_point, f"{node.name}.{name}", np.int8)


def _prove_matmul(context: Context, node: Node, inner: int) -> None:
    advice = "the sequence is too long: use a smaller image"
    context.proof.claim(node.name, Quantity.ACCUMULATOR, inner * 255.0 * 255.0, INT32, advice=advice)


def _softmax(context: Context, node: Node, site: str) -> Attention:
    """Score codes -> difference to the row maximum -> Exp -> codes and their sum."""
    onnx, length = context.onnx, node.shape.dims[-1]
    quant, target = context.recipe.activations[f"{node.name}.input"], context.recipe.activations[site]
    scores = _scores(context, score_path(context.graph, node)[0], quant)
    constants = ScoreConstants.of(context.graph, node).codes(quant.scale, target.high)
    span = 255 + added_span(constants.values())
    distance = _distance(context, node, scores, constants)
    results = Results.of_distances(quant.scale, span)
    _prove_softmax(context, node, results, span, target)
    power = onnx.one("Exp", [distance], f"{node.name}.exp")
    codes = f"{node.name}.codes"
    u = encode(onnx, power, target, codes, step=target.scale, flat=False, results=results).tensor
    context.proof.claim(
        node.name, Quantity.ATTENTION_SUM, length * target.high, FLOAT32_INTEGER, advice="sequence too long"
    )
    # A matmul with ones: half the time of a Cast and a ReduceSum.
    ones = onnx.dequantize(onnx.constant(f"ones_{length}", np.ones((length, 1), np.int8)), 1.0, 0, "ones", np.int8)
    total = onnx.one("MatMul", [onnx.dequantize(u, 1.0, 0, f"{codes}.float"), ones], f"{node.name}.sum")
    return Attention(codes=u, total=total, high=target.high)


def _prove_softmax(context: Context, node: Node, results: Results, span: int, target: ActivationQuant) -> None:
    """Claim that the attention codes of a softmax are certain, and that a row's maximum is never 0.

    Args:
        context: the emission.
        node: the softmax.
        results: all that Exp can give.
        span: the largest distance of a score to its row's maximum, in codes.
        target: quantizer of the attention codes.
    """
    proof, score_scale = context.proof, context.recipe.activations[f"{node.name}.input"].scale
    proof.claim_certain(node.name, "Exp", results, target)
    peak, mantissas = float(np.rint(1 / target.scale)), _mantissa(score_scale) * span
    proof.claim(node.name, Quantity.ATTENTION_PEAK, peak, 1.0, advice=NOT_CERTIFIED)
    proof.claim(node.name, Quantity.ATTENTION_ZERO_POINT, target.zero_point, 0.0, advice=NOT_CERTIFIED)
    proof.claim(node.name, Quantity.SCORE_MANTISSA, mantissas, FLOAT32_INTEGER, advice=NOT_CERTIFIED)


def _scores(context: Context, node: Node, quant: ActivationQuant) -> str:
    """Q x K^T requantised to uint8; the factor alpha is part of the score scale. Else whatever gives the scores."""
    onnx = context.onnx
    if not isinstance(node.op, Matmul):
        x = context.unflatten(context.read_floats(node.name, 0), node.name)
        name = f"{node.name}.codes"
        return encode(onnx, x.tensor, quant, name, step=quant.scale, flat=False, fused=False).tensor
    q = context.unflatten(context.read_codes(node, "a"), node.inputs[0])
    k = context.unflatten(context.read_codes(node, "b"), node.inputs[1])
    _prove_matmul(context, node, context.graph[node.inputs[1]].shape.dims[-2])
    left = onnx.dequantize(q.tensor, q.scale, q.zero_point, f"{node.name}.q")
    right = _dequantize_right(context, node, k, name="k", scale=k.scale, left_high=q.high)
    product = onnx.one("MatMul", [left, right], f"{node.name}.product")
    return onnx.quantize(product, quant.scale / node.attributes(Matmul).alpha, quant.zero_point, node.name)


def _distance(context: Context, node: Node, scores: str, constants: dict[str, NDArray[np.float32]]) -> str:
    """Float32 distances of scores, moved and with their constants, to the maximum of their row.

    Args:
        context: the emission.
        node: the softmax.
        scores: their codes, in the shape of what computes them.
        constants: what is added between, in score steps, by the names of the additions.
    """
    onnx, quant = context.onnx, context.recipe.activations[f"{node.name}.input"]
    before, steps = score_path(context.graph, node)
    moved = Codes(tensor=scores, scale=quant.scale, zero_point=quant.zero_point, flat=False)
    while steps and isinstance(steps[0].op, Movement):
        moved, before = move(context, moved, before, steps[:1]), steps.pop(0)
    codes = context.unflatten(moved, before.name).tensor
    if not steps:
        peak = onnx.one("ReduceMax", [codes, onnx.shape([-1])], f"{node.name}.peak_codes", keepdims=1)
        x = onnx.dequantize(codes, quant.scale, quant.zero_point, f"{node.name}.scores")
        top = onnx.dequantize(peak, quant.scale, quant.zero_point, f"{node.name}.peak")
    else:
        x = onnx.dequantize(codes, quant.scale, quant.zero_point, f"{node.name}.scores")
        for step in steps:
            if isinstance(step.op, Movement):
                values = move(context, Floats(tensor=x, exponent=0, bound=0.0, flat=False), before, [step])
                x = context.unflatten(values, step.name).tensor
            else:
                table = onnx.constant(f"{step.name}.bias", constants[step.name] * np.float32(quant.scale))
                x = onnx.one("Add", [x, table], f"{step.name}.f32")
            before = step
        top = onnx.one("ReduceMax", [x, onnx.shape([-1])], f"{node.name}.peak", keepdims=1)
    return onnx.one("Sub", [x, top], f"{node.name}.distance")


def _mantissa(scale: float) -> float:
    """The odd integer m of scale = m * 2 ** e."""
    numerator, _ = float(np.float32(scale)).as_integer_ratio()
    while numerator % 2 == 0:
        numerator //= 2
    return float(numerator)
