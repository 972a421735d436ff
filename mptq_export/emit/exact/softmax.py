"""The softmax in integers, without its division.

Scores are uint8 codes. Exp sees the difference to the row maximum (a few hundred integers times the score scale,
all certified) and gives uint8 codes whose row maximum is the top code: the attention codes. Their row sum is an exact
integer; what reads them divides by it (`attention.py`), or the softmax does so itself where no matmul reads it.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Matmul, Movement
from mptq_export.capture.score_path import score_path
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import encode
from mptq_export.emit.exact.integer_matmul import emit_integer_matmul
from mptq_export.emit.exact.proof import FLOAT32_INTEGER, NOT_CERTIFIED, Quantity
from mptq_export.emit.exact.values import Attention, Codes, Floats
from mptq_export.emit.movement import move
from mptq_export.quantize.activations.score_bias import ScoreConstants, largest_distance
from mptq_export.quantize.certification.certify import Results
from mptq_export.recipe.schema import ActivationQuant


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """The softmax itself, for what is no matmul: attention codes divided by their sum."""
    onnx = context.onnx
    attention = emit_attention_codes(context, node, f"{node.name}.output")
    u = onnx.dequantize(attention.codes.tensor, 2.0**exponent, 0, f"{node.name}.weights{exponent}")
    tensor = onnx.one("Div", [u, attention.total], f"{node.name}.x{exponent}")
    return Floats(tensor=tensor, exponent=exponent, bound=2.0**exponent, flat=False)


def emit_attention_codes(context: Context, node: Node, site: str) -> Attention:
    """Score codes -> difference to the row maximum -> Exp -> attention codes and their sum.

    Args:
        context: the emission.
        node: the softmax.
        site: key of the quantizer of the attention codes.
    """
    onnx, length = context.onnx, node.shape.dims[-1]
    quant, target = context.recipe.activations[f"{node.name}.input"], context.recipe.activations[site]
    scores = _emit_scores(context, score_path(context.graph, node)[0], quant)
    constants = ScoreConstants.of(context.graph, node).codes(quant.scale, target.high)
    furthest = largest_distance(constants.values())
    distance = _emit_distance(context, node, scores, constants)
    results = Results.of_distances(quant.scale, furthest)
    _prove_softmax(context, node, results, furthest, target)
    power = onnx.one("Exp", [distance], f"{node.name}.exp")
    name = f"{node.name}.codes"
    codes = encode(onnx, power, target, name, step=target.scale, flat=False, results=results)
    context.proof.claim(
        node.name, Quantity.ATTENTION_SUM, length * target.high, FLOAT32_INTEGER, advice="sequence too long"
    )
    # A matmul with ones: half the time of a Cast and a ReduceSum.
    ones = onnx.dequantize(onnx.constant(f"ones_{length}", np.ones((length, 1), np.int8)), 1.0, 0, "ones", np.int8)
    whole = onnx.dequantize(codes.tensor, 1.0, 0, f"{name}.float")
    total = onnx.one("MatMul", [whole, ones], f"{node.name}.sum")
    return Attention(codes=replace(codes, scale=1.0), total=total)


def _prove_softmax(context: Context, node: Node, results: Results, furthest: int, target: ActivationQuant) -> None:
    """Claim that the attention codes of a softmax are certain, and that a row's maximum is never 0.

    Args:
        context: the emission.
        node: the softmax.
        results: all that Exp can give.
        furthest: the largest distance of a score to its row's maximum, in codes.
        target: quantizer of the attention codes.
    """
    proof, score_scale = context.proof, context.recipe.activations[f"{node.name}.input"].scale
    proof.claim_certain(node.name, "Exp", results, target)
    peak, mantissas = float(np.rint(1 / target.scale)), _mantissa(score_scale) * furthest
    proof.claim(node.name, Quantity.ATTENTION_PEAK, peak, 1.0, advice=NOT_CERTIFIED)
    proof.claim(node.name, Quantity.ATTENTION_ZERO_POINT, target.zero_point, 0.0, advice=NOT_CERTIFIED)
    proof.claim(node.name, Quantity.SCORE_MANTISSA, mantissas, FLOAT32_INTEGER, advice=NOT_CERTIFIED)


def _emit_scores(context: Context, node: Node, quant: ActivationQuant) -> str:
    """Q x K^T requantised to uint8; the factor alpha is part of the score scale. Else whatever gives the scores."""
    onnx = context.onnx
    if not isinstance(node.op, Matmul):
        x = context.unflatten(context.read_floats(node.name, 0), node.name)
        name = f"{node.name}.codes"
        return encode(onnx, x.tensor, quant, name, step=quant.scale, flat=False, fused=False).tensor
    q = context.unflatten(context.read_codes(node, "a"), node.inputs[0])
    k = context.unflatten(context.read_codes(node, "b"), node.inputs[1])
    names = (f"{node.name}.q", f"{node.name}.k")
    product = emit_integer_matmul(context, node, q, k, names=names, result=f"{node.name}.product")
    return onnx.quantize(product, quant.scale / node.attributes(Matmul).alpha, quant.zero_point, node.name)


def _emit_distance(context: Context, node: Node, scores: str, constants: dict[str, NDArray[np.float32]]) -> str:
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
