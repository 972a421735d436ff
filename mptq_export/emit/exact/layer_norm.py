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
from dataclasses import replace

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import LayerNorm
from mptq_export.emit.builder import DOUBLE, FLOAT, OnnxBuilder
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import encode
from mptq_export.emit.exact.grid import FAR_ABOVE, sum_of_squares
from mptq_export.emit.exact.proof import FLOAT64_INTEGER, Quantity
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.recipe.schema import ActivationQuant

#: Bound of `|r_i| / sqrt(sum r^2)`: 1 but for rounding.
_UNIT = 1.001

#: D times the variance of whole numbers that are not all equal is at least 1/2; rounding may take a thousandth of it.
_LEAST_VARIANCE = 0.5 / 1000


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """Layer norm followed by QuantizeLinear; the scale is folded into gamma and beta."""
    result = _norm(context, node, 1.0 / quant.scale, key)
    return encode(context.onnx, result.tensor, quant, f"{key}.codes", step=1.0, flat=result.flat)


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """Layer norm in units of 2 ** -exponent."""
    name = f"{node.name}.x{exponent}" if exponent else node.name
    return replace(_norm(context, node, 2.0**exponent, name), exponent=exponent)


def _norm(context: Context, node: Node, gain: float, name: str) -> Floats:
    """The norm times `gain`."""
    onnx, norm, width = context.onnx, node.attributes(LayerNorm), node.shape.dims[-1]
    source = context.read_integers(node.inputs[0])
    squares = sum_of_squares(width, source.bound)
    context.proof.claim(node.name, Quantity.SQUARES, squares, FLOAT64_INTEGER, advice=FAR_ABOVE)
    if norm.centered:
        centred, total = source.tensor, _sum_of_squares(onnx, node, source.tensor)
    else:
        centred, total = _subtract_mean(context, node, source.tensor)
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
        return Floats(tensor=result, exponent=0, bound=factor * largest, flat=source.flat)
    weight = node.params["weight"].double().numpy() * (math.sqrt(width) * gain)
    bias = node.params["bias"].double().numpy() * gain
    gamma = onnx.constant(f"{name}.gamma", weight.astype(np.float32))
    beta = onnx.constant(f"{name}.beta", bias.astype(np.float32))
    scaled = onnx.one("Mul", [unit, gamma], f"{name}.scaled")
    result = onnx.one("Add", [scaled, beta], name)
    bound = float(np.abs(weight).max() * largest + np.abs(bias).max())
    return Floats(tensor=result, exponent=0, bound=bound, flat=source.flat)


def _sum_of_squares(onnx: OnnxBuilder, node: Node, x: str) -> str:
    """The sum of squares of rows without a mean, float64: products in float32, rounded there and still whole."""
    axes = onnx.shape([-1])
    square = onnx.one("Mul", [x, x], f"{node.name}.square")
    square = onnx.one("Cast", [square], f"{node.name}.square_f64", to=DOUBLE)
    return onnx.one("ReduceSum", [square, axes], f"{node.name}.sum_of_squares", keepdims=1)


def _subtract_mean(context: Context, node: Node, x: str) -> tuple[str, str]:
    """Rows without their mean, float32, and D times their variance, float64."""
    onnx, name, width = context.onnx, node.name, node.shape.dims[-1]
    axes = onnx.shape([-1])
    wide = onnx.one("Cast", [x], f"{name}.f64", to=DOUBLE)
    square = onnx.one("Mul", [wide, wide], f"{name}.square")
    total = onnx.one("ReduceSum", [square, axes], f"{name}.sum_of_squares", keepdims=1)
    summed = onnx.one("ReduceSum", [wide, axes], f"{name}.sum", keepdims=1)
    reciprocal = onnx.scalar(1.0 / width, np.float64)
    mean = onnx.one("Mul", [summed, reciprocal], f"{name}.mean")
    rounded = onnx.one("Round", [mean], f"{name}.whole_mean")
    inside = onnx.one("Mul", [rounded, onnx.scalar(width, np.float64)], f"{name}.whole_sum")
    rest = onnx.one("Sub", [summed, inside], f"{name}.rest")
    about = onnx.one("Mul", [rounded, onnx.one("Add", [summed, rest], f"{name}.both")], f"{name}.about")
    total = onnx.one("Sub", [total, about], f"{name}.sum_of_distances")
    excess = onnx.one("Mul", [rest, onnx.one("Mul", [rest, reciprocal], f"{name}.rest_mean")], f"{name}.excess")
    total = onnx.one("Sub", [total, excess], f"{name}.variance")
    context.proof.claim(name, Quantity.VARIANCE_ROUNDING, 2.0**-53 * width, _LEAST_VARIANCE, advice=FAR_ABOVE)
    mean32 = onnx.one("Cast", [mean], f"{name}.mean_f32", to=FLOAT)
    return onnx.one("Sub", [x, mean32], f"{name}.centred"), total
