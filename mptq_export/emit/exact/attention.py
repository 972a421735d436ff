"""Attention with an unnormalised integer softmax.

Scores are uint8 codes. Exp sees the difference to the row maximum (a few hundred integers times the score scale,
all certified) and gives uint8 codes whose row maximum is the top code. Their row sum is an exact integer; the product
with V is divided by it after the integer matmul, so every row has its own scale for free.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mptq_export.calibrate.sites import feeds_matmuls, score_path
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Matmul, Movement
from mptq_export.emit.builder import INT8
from mptq_export.emit.exact import movement
from mptq_export.emit.exact.forms import Attention, Codes, Floats
from mptq_export.emit.exact.proof import FLOAT32_INTEGER, INT32
from mptq_export.quantize.activations.score_bias import ScoreConstants, added_span
from mptq_export.quantize.certification.certify import Results
from mptq_export.quantize.weights.code_range import PAIR_LIMIT
from mptq_export.recipe.schema import ActivationQuant

if TYPE_CHECKING:
    from mptq_export.emit.exact.emitter import Emitter

INT8_HIGH = 127


def emit_context(emitter: "Emitter", node: Node, quant: ActivationQuant, name: str) -> Codes:
    """Attention output as codes of what reads it."""
    # Scaled by v's scale alone, then divided: attention picks whole multiples of it, and their ratio to this scale is
    # often simple, so that values lie exactly between two codes. The simulation must round them the same way.
    result = _context(emitter, node, 1.0)
    return emitter.coded(result.tensor, quant.scale, quant, f"{name}.codes", flat=False)


def emit_context_floats(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """Attention output as float32 in units of 2 ** -exponent."""
    return replace(_context(emitter, node, 2.0**exponent), exponent=exponent)


def _context(emitter: "Emitter", node: Node, gain: float) -> Floats:
    """(u x V) / sum(u), times `gain`; a plain integer matmul where the operand is no softmax."""
    onnx = emitter.onnx
    v = emitter.full(emitter.codes(node, "b"), node.inputs[1])
    inner = emitter.graph[node.inputs[1]].shape.dims[-2]
    v_scale = v.scale * gain * node.attributes(Matmul).alpha
    span = max(v.high - v.zero_point, v.zero_point - v.low)
    if not feeds_matmuls(emitter.graph, emitter.graph[node.inputs[0]]):
        a = emitter.full(emitter.codes(node, "a"), node.inputs[0])
        _prove_matmul(emitter, node, inner)
        a_float = onnx.dequantize(a.tensor, a.scale, a.zero_point, f"{node.name}.a")
        result = onnx.one("MatMul", [a_float, _right(emitter, node, a.high, v, v_scale, "v")], node.name)
        bound = inner * 255.0 * span * a.scale * v.scale * gain
        return Floats(result, 0, bound, integer=False, flat=False)
    weights = _softmax(emitter, emitter.graph[node.inputs[0]], f"{node.name}.a")
    _prove_matmul(emitter, node, inner)
    u = onnx.dequantize(weights.codes, 1.0, 0, f"{node.name}.weights")
    v_float = _right(emitter, node, weights.high, v, v_scale, "v")
    product = onnx.one("MatMul", [u, v_float], f"{node.name}.unnormalised")
    result = onnx.one("Div", [product, weights.total], node.name)
    return Floats(result, 0, span * v.scale * gain * 1.001, integer=False, flat=False)


def emit_softmax_floats(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """The softmax itself, for what is no matmul: codes divided by their sum."""
    onnx = emitter.onnx
    weights = _softmax(emitter, node, f"{node.name}.output")
    u = onnx.dequantize(weights.codes, 2.0**exponent, 0, f"{node.name}.weights{exponent}")
    tensor = onnx.one("Div", [u, weights.total], f"{node.name}.x{exponent}")
    return Floats(tensor, exponent, 2.0**exponent, integer=False, flat=False)


def _right(emitter: "Emitter", node: Node, high: int, codes: Codes, scale: float, name: str) -> str:
    """The right operand as floats: from int8 where no pair of products can leave int16, which is the faster kernel.

    Args:
        emitter: the emission.
        node: the matmul.
        high: largest code of the left operand.
        codes: of the right one.
        scale: that the matmul gives it.
        name: of the operand.
    """
    onnx, limit = emitter.onnx, 255.0 * PAIR_LIMIT
    pairs = 2.0 * high * codes.high
    if codes.high > INT8_HIGH or pairs > limit:
        return onnx.dequantize(codes.tensor, scale, codes.zero_point, f"{node.name}.{name}")
    emitter.proof.at_most(node.name, "int16 pair sum of u8 x s8 kernels", pairs, limit, "the codes are too large")
    narrow = onnx.one("Cast", [codes.tensor], f"{node.name}.{name}_int8", to=INT8)
    return onnx.dequantize(narrow, scale, codes.zero_point, f"{node.name}.{name}", np.int8)


def _prove_matmul(emitter: "Emitter", node: Node, inner: int) -> None:
    advice = "the sequence is too long: use a smaller image"
    emitter.proof.at_most(node.name, "int32 accumulator", inner * 255.0 * 255.0, INT32, advice)


def _softmax(emitter: "Emitter", node: Node, site: str) -> Attention:
    """Score codes -> difference to the row maximum -> Exp -> codes and their sum."""
    onnx = emitter.onnx
    scores, steps = score_path(emitter.graph, node)
    quant = emitter.recipe.activations[f"{node.name}.input"]
    target = emitter.recipe.activations[site]
    codes = _scores(emitter, scores, quant)
    length = node.shape.dims[-1]
    constants = ScoreConstants.of(emitter.graph, node).codes(quant.scale, target.high)
    span = 255 + added_span(constants.values())
    moved = Codes(codes, quant.scale, quant.zero_point, 0, 255, flat=False)
    before = scores
    while steps and isinstance(steps[0].op, Movement):
        moved, before = movement.apply(emitter, moved, before, steps[:1]), steps.pop(0)
    codes = emitter.full(moved, before.name).tensor
    if not steps:
        peak = onnx.one("ReduceMax", [codes, onnx.shape([-1])], f"{node.name}.peak_codes", keepdims=1)
        x = onnx.dequantize(codes, quant.scale, quant.zero_point, f"{node.name}.scores")
        top = onnx.dequantize(peak, quant.scale, quant.zero_point, f"{node.name}.peak")
    else:
        x = onnx.dequantize(codes, quant.scale, quant.zero_point, f"{node.name}.scores")
        for step in steps:
            x, before = _score_step(emitter, x, before, step, constants, quant.scale), step
        top = onnx.one("ReduceMax", [x, onnx.shape([-1])], f"{node.name}.peak", keepdims=1)
    distance = onnx.one("Sub", [x, top], f"{node.name}.distance")
    results = Results.of_distances(quant.scale, span)
    emitter.proof.certain(node.name, "Exp", results, target)
    advice = "the recipe is not certified for this layer: export again without --recipe"
    emitter.proof.at_least(
        node.name, "attention code of a row's maximum", float(np.rint(1 / target.scale)), 1.0, advice
    )
    emitter.proof.at_most(node.name, "zero point of attention codes", target.zero_point, 0.0, advice)
    emitter.proof.at_most(
        node.name, "score codes times mantissa", _mantissa(quant.scale) * span, FLOAT32_INTEGER, advice
    )
    power = onnx.one("Exp", [distance], f"{node.name}.exp")
    u = emitter.coded(power, target.scale, target, f"{node.name}.codes", flat=False, results=results).tensor
    emitter.proof.at_most(
        node.name, "float32 sum of attention codes", length * target.high, FLOAT32_INTEGER, "sequence too long"
    )
    # A matmul with ones: half the time of a Cast and a ReduceSum.
    ones = onnx.dequantize(onnx.constant(f"ones_{length}", np.ones((length, 1), np.int8)), 1.0, 0, "ones", np.int8)
    total = onnx.one("MatMul", [onnx.dequantize(u, 1.0, 0, f"{node.name}.codes.float"), ones], f"{node.name}.sum")
    return Attention(u, total, target.high)


def _scores(emitter: "Emitter", node: Node, quant: ActivationQuant) -> str:
    """Q x K^T requantised to uint8; the factor alpha is part of the score scale. Else whatever gives the scores."""
    onnx = emitter.onnx
    if not isinstance(node.op, Matmul):
        x = emitter.full(emitter.floats(node.name, 0), node.name)
        codes = emitter.coded(x.tensor, quant.scale, quant, f"{node.name}.codes", flat=False, fused=False)
        return codes.tensor
    operands = [
        emitter.full(emitter.codes(node, "a"), node.inputs[0]),
        emitter.full(emitter.codes(node, "b"), node.inputs[1]),
    ]
    _prove_matmul(emitter, node, emitter.graph[node.inputs[1]].shape.dims[-2])
    q, k = operands
    left = onnx.dequantize(q.tensor, q.scale, q.zero_point, f"{node.name}.q")
    product = onnx.one("MatMul", [left, _right(emitter, node, q.high, k, k.scale, "k")], f"{node.name}.product")
    return onnx.quantize(product, quant.scale / node.attributes(Matmul).alpha, quant.zero_point, node.name)


def _score_step(
    emitter: "Emitter", x: str, before: Node, step: Node, constants: dict[str, NDArray[np.float32]], scale: float
) -> str:
    """One constant addition or movement between scores and softmax."""
    onnx = emitter.onnx
    if isinstance(step.op, Movement):
        moved = movement.apply(emitter, Floats(x, 0, 0.0, integer=False, flat=False), before, [step])
        return emitter.full(moved, step.name).tensor
    table = onnx.constant(f"{step.name}.bias", constants[step.name] * np.float32(scale))
    return onnx.one("Add", [x, table], f"{step.name}.f32")


def _mantissa(scale: float) -> float:
    """The odd integer m of scale = m * 2 ** e."""
    numerator, _ = float(np.float32(scale)).as_integer_ratio()
    while numerator % 2 == 0:
        numerator //= 2
    return float(numerator)
