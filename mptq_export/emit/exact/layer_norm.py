"""Layer norm from exact integer sums.

The input is a residual r of integers. Its sum of squares is exact in float64 in any order: the squares are whole
numbers, rounded to float32 first where there is no mean to subtract. So is its sum S, where the mean was not removed
from what writes it. What follows is element-wise IEEE arithmetic:
`y = (r - mean) / sqrt(D variance + D eps 4^e) * (sqrt(D) gamma) + beta`.

`sum(r^2) - S^2 / D` would lose all digits, and its sign, where a row is nearly constant and far from 0. With the whole
number m next to the mean and `s = S - D m`, which is at most half of D,

    D variance = (sum(r^2) - m (S + s)) - s^2 / D

The bracket is `sum((r - m)^2)`, whole and exact, and s^2 / D is wrong by less than `2^-53 D`. Where not all of r are
equal, D variance is at least 1/2, so the difference is positive; where they are, it is 0 exactly.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import LayerNorm
from mptq_export.emit.builder import DOUBLE, FLOAT
from mptq_export.emit.exact.forms import Codes, Floats
from mptq_export.emit.exact.proof import FLOAT64_INTEGER
from mptq_export.emit.exact.residual import SQUARE_ROUNDING
from mptq_export.recipe.schema import ActivationQuant

if TYPE_CHECKING:
    from mptq_export.emit.exact.emitter import Emitter

#: Bound of `|r_i| / sqrt(sum r^2)`: 1 but for rounding.
_UNIT = 1.001

#: D times the variance of whole numbers that are not all equal is at least 1/2; rounding may take a thousandth of it.
_LEAST_VARIANCE = 0.5 / 1000


def emit_codes(emitter: "Emitter", node: Node, quant: ActivationQuant, name: str) -> Codes:
    """Layer norm followed by QuantizeLinear; the scale is folded into gamma and beta."""
    result = _norm(emitter, node, 1.0 / quant.scale, name)
    return emitter.coded(result.tensor, 1.0, quant, f"{name}.codes", result.flat)


def emit_floats(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """Layer norm in units of 2 ** -exponent."""
    return _norm(emitter, node, 2.0**exponent, f"{node.name}.x{exponent}" if exponent else node.name, exponent)


def _norm(emitter: "Emitter", node: Node, gain: float, name: str, exponent: int = 0) -> Floats:
    onnx = emitter.onnx
    source = emitter.floats(node.inputs[0], None)
    width = node.shape.dims[-1]
    advice = "its worst case is far above the calibrated range; check the checkpoint for extreme weights"
    most = width * (source.bound + 1) ** 2 * SQUARE_ROUNDING
    emitter.proof.at_most(node.name, "float64 sum of squares", most, FLOAT64_INTEGER, advice)
    axes, norm = onnx.shape([-1]), node.attributes(LayerNorm)
    if norm.centered:
        centred = source.tensor
        square = onnx.one("Mul", [centred, centred], f"{node.name}.square")
        square = onnx.one("Cast", [square], f"{node.name}.square_f64", to=DOUBLE)
        total = onnx.one("ReduceSum", [square, axes], f"{node.name}.sum_of_squares", keepdims=1)
    else:
        wide = onnx.one("Cast", [source.tensor], f"{node.name}.f64", to=DOUBLE)
        square = onnx.one("Mul", [wide, wide], f"{node.name}.square")
        total = onnx.one("ReduceSum", [square, axes], f"{node.name}.sum_of_squares", keepdims=1)
        summed = onnx.one("ReduceSum", [wide, axes], f"{node.name}.sum", keepdims=1)
        part = onnx.scalar(1.0 / width, np.float64)
        mean = onnx.one("Mul", [summed, part], f"{node.name}.mean")
        whole = onnx.one("Round", [mean], f"{node.name}.whole_mean")
        inside = onnx.one("Mul", [whole, onnx.scalar(width, np.float64)], f"{node.name}.whole_sum")
        rest = onnx.one("Sub", [summed, inside], f"{node.name}.rest")
        about = onnx.one("Mul", [whole, onnx.one("Add", [summed, rest], f"{node.name}.both")], f"{node.name}.about")
        total = onnx.one("Sub", [total, about], f"{node.name}.sum_of_distances")
        excess = onnx.one("Mul", [rest, onnx.one("Mul", [rest, part], f"{node.name}.rest_mean")], f"{node.name}.excess")
        total = onnx.one("Sub", [total, excess], f"{node.name}.variance")
        emitter.proof.at_most(node.name, "rounding of a variance", 2.0**-53 * width, _LEAST_VARIANCE, advice)
        mean32 = onnx.one("Cast", [mean], f"{node.name}.mean_f32", to=FLOAT)
        centred = onnx.one("Sub", [source.tensor, mean32], f"{node.name}.centred")
    eps = onnx.scalar(width * norm.eps * 4.0**source.exponent, np.float64)
    total = onnx.one("Add", [total, eps], f"{node.name}.plus_eps")
    root = onnx.one("Sqrt", [total], f"{node.name}.sqrt")
    # Where a mean is subtracted, it is in float32: good to half a unit in the last place of the largest one.
    largest = _UNIT + (0.0 if norm.centered else source.bound * 2.0**-24 / math.sqrt(0.5))
    deviation = onnx.one("Cast", [root], f"{node.name}.deviation", to=FLOAT)
    unit = onnx.one("Div", [centred, deviation], f"{node.name}.unit")
    if norm.plain:
        factor = math.sqrt(width) * gain
        result = onnx.one("Mul", [unit, onnx.scalar(factor)], name)
        return Floats(result, exponent, factor * largest, integer=False, flat=source.flat)
    weight = node.params["weight"].double().numpy() * (math.sqrt(width) * gain)
    bias = node.params["bias"].double().numpy() * gain
    gamma = onnx.constant(f"{name}.gamma", weight.astype(np.float32))
    beta = onnx.constant(f"{name}.beta", bias.astype(np.float32))
    scaled = onnx.one("Mul", [unit, gamma], f"{name}.scaled")
    result = onnx.one("Add", [scaled, beta], name)
    bound = float(np.abs(weight).max() * largest + np.abs(bias).max())
    return Floats(result, exponent, bound, integer=False, flat=source.flat)
