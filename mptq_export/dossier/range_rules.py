"""What each op makes of the intervals of its inputs: one rule an op, and the few patterns that say more than their ops.

Patterns are those that an exact file has: a norm's unit, a maximum that is taken off, a mean by attention codes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.special import erf, expit

from mptq_export.dossier.interval import EVERYTHING, WIDER, Interval, hull, of_type
from mptq_export.verify.graph import GraphReader

#: The unit of a norm with a mean is at most 1, and a thousandth for what is rounded.
_UNIT = 1.001

Size = int | str | None
"""Of an axis; a name or None stands for one that is not fixed."""


@dataclass(frozen=True)
class Known:
    """What is known of a file while its nodes are walked.

    Attributes:
        graph: the file's.
        constants: values of those tensors that no input changes, by name.
        shapes: of the other tensors.
        found: intervals so far.
    """

    graph: GraphReader
    constants: Mapping[str, NDArray[Any]]
    shapes: Mapping[str, tuple[Size, ...]]
    found: dict[str, Interval]

    def of(self, node: onnx.NodeProto, place: int) -> Interval:
        """The interval of an input."""
        return self.found[node.input[place]]

    def maker(self, name: str, op: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, or the one that is spread to its shape, if it is of this op."""
        node = self.graph.producers.get(name)
        while node is not None and node.op_type == "Expand":
            node = self.graph.producers.get(node.input[0])
        return node if node is not None and node.op_type == op else None

    def ends_with(self, name: str, size: Size) -> bool:
        """Whether the last axis of a tensor has a size."""
        shape = self.shapes.get(name)
        return shape is not None and shape[-1:] == (size,)


Rule = Callable[[Known, onnx.NodeProto], Interval]
"""The interval of what a node gives."""


def _same(known: Known, node: onnx.NodeProto) -> Interval:
    return known.of(node, 0)


def _joined(known: Known, node: onnx.NodeProto) -> Interval:
    return hull(*(known.found[name] for name in node.input if name))


def _padded(known: Known, node: onnx.NodeProto) -> Interval:
    value = known.found[node.input[2]] if len(node.input) > 2 and node.input[2] else Interval(0.0, 0.0)
    return hull(known.of(node, 0), value)


def _cast(known: Known, node: onnx.NodeProto) -> Interval:
    to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
    return known.of(node, 0).inside(of_type(to))


def _clip(known: Known, node: onnx.NodeProto) -> Interval:
    low, high = EVERYTHING
    if len(node.input) > 1 and node.input[1]:
        low = known.of(node, 1).low
    if len(node.input) > 2 and node.input[2]:
        high = known.of(node, 2).high
    return known.of(node, 0).inside(Interval(low, high))


def _quantize(known: Known, node: onnx.NodeProto) -> Interval:
    x, scale = known.of(node, 0), known.of(node, 1)
    named = len(node.input) > 2 and node.input[2]
    zero = known.of(node, 2) if named else Interval(0.0, 0.0)
    kind = known.constants[node.input[2]].dtype if named else np.dtype(np.uint8)
    limits = np.iinfo(kind)
    ends = [end / step for end in x for step in scale]
    ends = [end for end in ends if not math.isnan(end)]
    low, high = min(ends) * (1 + WIDER) - WIDER, max(ends) * (1 + WIDER) + WIDER
    if min(ends) > 0:
        low = min(ends) * (1 - WIDER)
    if max(ends) < 0:
        high = max(ends) * (1 - WIDER)
    codes = Interval(_rounded(low) + zero.low, _rounded(high) + zero.high)
    return codes.inside(Interval(float(limits.min), float(limits.max)))


def _rounded(value: float) -> float:
    return value if math.isinf(value) else float(np.rint(value))


def _dequantize(known: Known, node: onnx.NodeProto) -> Interval:
    zero = known.of(node, 2) if len(node.input) > 2 and node.input[2] else Interval(0.0, 0.0)
    codes = known.of(node, 0)
    return Interval(codes.low - zero.high, codes.high - zero.low).times(known.of(node, 1)).wider()


def _add(known: Known, node: onnx.NodeProto) -> Interval:
    a, b = known.of(node, 0), known.of(node, 1)
    return Interval(a.low + b.low, a.high + b.high).wider()


def _subtract(known: Known, node: onnx.NodeProto) -> Interval:
    a, b = known.of(node, 0), known.of(node, 1)
    plain = Interval(a.low - b.high, a.high - b.low).wider()
    return Interval(plain.low, 0.0) if _is_peak_of(known, node.input[1], node.input[0]) else plain


def _is_peak_of(known: Known, peak: str, values: str) -> bool:
    """Whether a tensor is the maximum of another one, along an axis, both dequantized alike or not at all."""
    if (maximum := known.maker(peak, "ReduceMax")) is not None:
        return str(maximum.input[0]) == values
    ours, theirs = known.maker(peak, "DequantizeLinear"), known.maker(values, "DequantizeLinear")
    if ours is None or theirs is None or ours.input[1:] != theirs.input[1:] or known.of(ours, 1).low <= 0:
        return False
    return _is_peak_of(known, ours.input[0], theirs.input[0])


def _multiply(known: Known, node: onnx.NodeProto) -> Interval:
    a = known.of(node, 0)
    if node.input[0] == node.input[1]:
        least = 0.0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high)) ** 2
        return Interval(least, a.largest**2).wider()
    return a.times(known.of(node, 1)).wider()


def _divide(known: Known, node: onnx.NodeProto) -> Interval:
    a, b = known.of(node, 0), known.of(node, 1)
    if _is_norm_of(known, node.input[1], node.input[0]):
        return a.inside(Interval(-1.0, 1.0)).wider()
    if (centred := _centred_of(known, *node.input)) is not None:
        room = _UNIT + centred.largest * 2.0**-24 / math.sqrt(0.5)
        return Interval(-room, room)
    if (values := _weighted_mean(known, *node.input)) is not None:
        return values.wider()
    if b.low <= 0 <= b.high:
        return EVERYTHING
    ends = [x / y for x in a for y in b if not (math.isinf(x) and math.isinf(y))]
    return Interval(min([0.0, *ends]), max([0.0, *ends])).wider() if ends else EVERYTHING


def _is_norm_of(known: Known, norm: str, values: str) -> bool:
    """Whether a tensor is the root of the sum of squares of another one, something that is not negative added."""
    name, squared = norm, False
    while (node := known.graph.producers.get(name)) is not None:
        if node.op_type == "Mul" and node.input[0] == node.input[1]:
            return squared and str(node.input[0]) == values
        if node.op_type == "Add" and not (node.input[1] in known.constants and known.of(node, 1).low >= 0):
            return False
        if node.op_type not in ("Add", "Cast", "Expand", "ReduceSum", "Sqrt"):
            return False
        squared = squared or node.op_type == "Sqrt"
        name = node.input[0]
    return False


def _centred_of(known: Known, values: str, deviation: str) -> Interval | None:
    """The whole numbers of which `values / deviation` is the unit of a layer norm with a mean; see docs/design.md, 4.

    The distance to the mean is at most the root of the sum of squares of all distances, which is what the two
    differences behind the sum of squares give (the bound `rounding of a variance`); the mean is rounded to float32.
    """
    centred, name = known.maker(values, "Sub"), deviation
    for op in ("Cast", "Sqrt", "Add", "Sub", "Sub", "ReduceSum", "Mul", "Cast"):
        node = known.maker(name, op)
        if node is None or centred is None:
            return None
        name = node.input[0]
    assert centred is not None
    return known.of(centred, 0) if name == centred.input[0] else None


def _weighted_mean(known: Known, sums: str, weights: str) -> Interval | None:
    """The values of which `sums / weights` is a mean: products with the same codes, divided by the sum of these.

    The codes themselves divided by their sum are shares, a mean of ones and zeros.
    """
    of_values, of_ones = known.maker(sums, "MatMul"), known.maker(weights, "MatMul")
    stacked = known.maker(weights, "Reshape")  # as a profile wants it: a sum a row, of rows in one matrix
    if of_ones is None and stacked is not None and known.ends_with(stacked.output[0], 1):
        of_ones = known.maker(stacked.input[0], "MatMul")
    if of_ones is None or known.found[of_ones.input[1]] != Interval(1.0, 1.0) or known.of(of_ones, 0).low < 0:
        return None
    codes = of_ones.input[0]
    if _same_rows(known, codes, sums):
        return Interval(0.0, 1.0)
    if of_values is None or not _same_rows(known, codes, of_values.input[0]):
        return None
    return known.of(of_values, 1)


def _same_rows(known: Known, rows: str, values: str) -> bool:
    """Whether two tensors are one, or the same codes dequantized alike, of the one the rows put in one matrix."""
    if rows == values:
        return True
    ours, theirs = known.maker(rows, "DequantizeLinear"), known.maker(values, "DequantizeLinear")
    if ours is None or theirs is None or ours.input[1:] != theirs.input[1:]:
        return False
    stacked, shape = known.maker(ours.input[0], "Reshape"), known.shapes.get(theirs.input[0])
    if stacked is None or stacked.input[0] != theirs.input[0] or not shape:
        return False
    return known.ends_with(stacked.output[0], shape[-1])


def _root(known: Known, node: onnx.NodeProto) -> Interval:
    x = known.of(node, 0)
    return Interval(math.sqrt(max(x.low, 0.0)), math.sqrt(max(x.high, 0.0))).wider()


def _absolute(known: Known, node: onnx.NodeProto) -> Interval:
    x = known.of(node, 0)
    return Interval(0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high)), x.largest)


def _negative(known: Known, node: onnx.NodeProto) -> Interval:
    x = known.of(node, 0)
    return Interval(-x.high, -x.low)


def _whole(known: Known, node: onnx.NodeProto) -> Interval:
    x = known.of(node, 0)
    return Interval(_rounded(x.low), _rounded(x.high))


def _sum(known: Known, node: onnx.NodeProto) -> Interval:
    shape, x = known.shapes.get(node.input[0]), known.of(node, 0)
    axes = known.constants.get(node.input[1]) if len(node.input) > 1 else None
    if shape is None or axes is None or any(not isinstance(shape[int(axis)], int) for axis in axes):
        return EVERYTHING
    count = math.prod(int(shape[int(axis)] or 0) for axis in axes)
    return Interval(x.low * count, x.high * count).wider()


def _matmul(known: Known, node: onnx.NodeProto) -> Interval:
    weights = known.constants.get(node.input[1])
    if weights is not None and weights.ndim >= 2:
        return _with_weights(known.of(node, 0), np.moveaxis(weights, -2, 0).reshape(weights.shape[-2], -1)).wider()
    shape = known.shapes.get(node.input[0])
    depth = shape[-1] if shape else None
    if not isinstance(depth, int):
        return EVERYTHING
    each = known.of(node, 0).times(known.of(node, 1))
    return Interval(each.low * depth, each.high * depth).wider()


def _gemm(known: Known, node: onnx.NodeProto) -> Interval:
    weights = known.constants.get(node.input[1])
    plain = all(
        attribute.name == "transB"
        or (attribute.name == "transA" and not attribute.i)
        or (attribute.name in ("alpha", "beta") and attribute.f == 1)
        for attribute in node.attribute
    )
    if weights is None or not plain:
        return EVERYTHING
    if any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
        weights = weights.T
    bias = known.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return _with_weights(known.of(node, 0), weights, bias).wider()


def _convolve(known: Known, node: onnx.NodeProto) -> Interval:
    weights = known.constants.get(node.input[1])
    if weights is None:
        return EVERYTHING
    bias = known.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    x = hull(known.of(node, 0), Interval(0.0, 0.0))  # zeros around the map
    return _with_weights(x, weights.reshape(len(weights), -1).T, bias).wider()


def _with_weights(x: Interval, weights: NDArray[Any], bias: NDArray[Any] | None = None) -> Interval:
    """Sums of products of inputs in an interval with the columns of [K, N], and a bias that broadcasts to them."""
    wide = weights.astype(np.float64)
    up, down = np.maximum(wide, 0).sum(axis=0), np.minimum(wide, 0).sum(axis=0)
    add = np.zeros(1) if bias is None else bias.astype(np.float64)
    if math.isinf(x.largest):
        return EVERYTHING
    # Two roundings to float32 and the larger terms that cancel: a share of the largest partial sum.
    room = x.largest * (up - down) * WIDER
    low, high = up * x.low + down * x.high + add - room, up * x.high + down * x.low + add + room
    never_negative = x.low >= 0 and wide.min(initial=0.0) >= 0 and add.min() >= 0
    return Interval(max(float(low.min()), 0.0) if never_negative else float(low.min()), float(high.max()))


def _function(of: Callable[[NDArray[np.float64]], Any]) -> Rule:
    def rule(known: Known, node: onnx.NodeProto) -> Interval:
        low, high = np.asarray(of(np.asarray(known.of(node, 0), np.float64)))
        return Interval(float(low), float(high)).wider()

    return rule


def _exponential(known: Known, node: onnx.NodeProto) -> Interval:
    x = known.of(node, 0)
    low, high = (math.inf if end > 700 else math.exp(end) for end in x)
    return Interval(low, high).wider()


def _gelu(known: Known, node: onnx.NodeProto) -> Interval:
    # x P(X <= x) falls down to -0.17 at -0.75 and grows from there on; below 0 it is never above 0.
    x = known.of(node, 0)
    return Interval(0.0 if x.low >= 0 else -0.1701, max(0.0, x.high)).wider()


def _one_of(known: Known, node: onnx.NodeProto) -> Interval:
    return hull(known.of(node, 1), known.of(node, 2))


_MOVES: Sequence[str] = (
    *("Expand", "Flatten", "Gather", "Identity", "ReduceMax", "ReduceMin", "Reshape", "Slice", "Split", "Squeeze"),
    *("Tile", "Transpose", "Unsqueeze"),
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(_MOVES, _same),
    "Abs": _absolute,
    "Add": _add,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _joined,
    "Conv": _convolve,
    "DequantizeLinear": _dequantize,
    "Div": _divide,
    "Erf": _function(erf),
    "Exp": _exponential,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Max": _joined,
    "Min": _joined,
    "Mul": _multiply,
    "Neg": _negative,
    "Pad": _padded,
    "QuantizeLinear": _quantize,
    "ReduceSum": _sum,
    "Round": _whole,
    "Sigmoid": _function(expit),
    "Sqrt": _root,
    "Sub": _subtract,
    "Tanh": _function(np.tanh),
    "Where": _one_of,
}
