"""Between which numbers every tensor of a file lies, whatever the input: intervals through the graph, node by node.

What is known of the input is its type. Codes lie between the ends of their type or of the Clip behind them, a product
with constant weights between its sums of worst cases, a norm's unit between -1 and 1, a softmax's distance below 0. So
the intervals follow from the file alone, and hold for every input that the preconditions allow; `inf` where only an
infinite input gets there. They are computed in float64 and made wider by more than float32 rounds (`_WIDER`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from scipy.special import erf, expit

from mptq_export.verify.graph import GraphReader

#: Share of an end that is added to it: more than all roundings of one kernel in float32.
_WIDER = 2.0**-20

#: The unit of a norm with a mean is at most 1, and a thousandth for what is rounded.
_UNIT = 1.001

Arrays = Mapping[str, NDArray[Any]]


class Interval(NamedTuple):
    """All numbers from `low` to `high`."""

    low: float
    high: float

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def wider(self) -> "Interval":
        """With room for what float32 rounds."""
        return Interval(self.low - abs(self.low) * _WIDER, self.high + abs(self.high) * _WIDER)


EVERYTHING = Interval(-math.inf, math.inf)

Ranges = dict[str, Interval]
"""Intervals by the names of tensors."""


def ranges(model: onnx.ModelProto, constants: Arrays, shapes: Mapping[str, tuple[int | str | None, ...]]) -> Ranges:
    """The interval of every tensor by name.

    Args:
        model: the file.
        constants: of `verify.constants.constant_tensors`.
        shapes: of the other tensors; a name or None stands for a size that is not fixed.
    """
    return _Walk(model, constants, shapes).found


class _Walk:
    def __init__(
        self, model: onnx.ModelProto, constants: Arrays, shapes: Mapping[str, tuple[int | str | None, ...]]
    ) -> None:
        self.graph, self.constants, self.shapes = GraphReader(model), constants, shapes
        self.found = {name: of_values(values) for name, values in constants.items()}
        for entry in model.graph.input:
            if entry.name not in self.found:
                self.found[entry.name] = _of_type(entry.type.tensor_type.elem_type)
        for node in model.graph.node:
            if any(name not in self.found for name in node.output if name):
                interval = self._of(node)
                self.found |= {name: interval for name in node.output if name}

    def _of(self, node: onnx.NodeProto) -> Interval:
        rule = _RULES.get(node.op_type)
        return EVERYTHING if rule is None else rule(self, node)

    def of(self, node: onnx.NodeProto, place: int) -> Interval:
        """The interval of an input."""
        return self.found[node.input[place]]

    def maker(self, name: str, op: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, or the one that is spread to its shape, if it is of this op."""
        node = self.graph.producers.get(name)
        while node is not None and node.op_type == "Expand":
            node = self.graph.producers.get(node.input[0])
        return node if node is not None and node.op_type == op else None


def of_values(values: NDArray[Any]) -> Interval:
    """From the least to the greatest of some values."""
    if not values.size or values.dtype.kind in "OSUb":
        return Interval(0.0, 1.0)
    return Interval(float(values.min()), float(values.max()))


def _of_type(kind: int) -> Interval:
    """All numbers of a type; of floats also the infinite ones."""
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    if dtype.kind == "b":
        return Interval(0.0, 1.0)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return Interval(float(limits.min), float(limits.max))
    return EVERYTHING


def _hull(*intervals: Interval) -> Interval:
    return Interval(min(each.low for each in intervals), max(each.high for each in intervals))


def _same(walk: _Walk, node: onnx.NodeProto) -> Interval:
    return walk.of(node, 0)


def _joined(walk: _Walk, node: onnx.NodeProto) -> Interval:
    return _hull(*(walk.found[name] for name in node.input if name))


def _padded(walk: _Walk, node: onnx.NodeProto) -> Interval:
    value = walk.found[node.input[2]] if len(node.input) > 2 and node.input[2] else Interval(0.0, 0.0)
    return _hull(walk.of(node, 0), value)


def _cast(walk: _Walk, node: onnx.NodeProto) -> Interval:
    to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
    return _inside(walk.of(node, 0), _of_type(to))


def _inside(interval: Interval, limits: Interval) -> Interval:
    low, high = (min(max(end, limits.low), limits.high) for end in interval)
    return Interval(low, high)


def _clip(walk: _Walk, node: onnx.NodeProto) -> Interval:
    low, high = EVERYTHING
    if len(node.input) > 1 and node.input[1]:
        low = walk.of(node, 1).low
    if len(node.input) > 2 and node.input[2]:
        high = walk.of(node, 2).high
    return _inside(walk.of(node, 0), Interval(low, high))


def _quantize(walk: _Walk, node: onnx.NodeProto) -> Interval:
    x, scale = walk.of(node, 0), walk.of(node, 1)
    named = len(node.input) > 2 and node.input[2]
    zero = walk.of(node, 2) if named else Interval(0.0, 0.0)
    kind = walk.constants[node.input[2]].dtype if named else np.dtype(np.uint8)
    limits = np.iinfo(kind)
    ends = [end / step for end in x for step in scale]
    ends = [end for end in ends if not math.isnan(end)]
    low, high = min(ends) * (1 + _WIDER) - _WIDER, max(ends) * (1 + _WIDER) + _WIDER
    if min(ends) > 0:
        low = min(ends) * (1 - _WIDER)
    if max(ends) < 0:
        high = max(ends) * (1 - _WIDER)
    codes = Interval(_rounded(low) + zero.low, _rounded(high) + zero.high)
    return _inside(codes, Interval(float(limits.min), float(limits.max)))


def _rounded(value: float) -> float:
    return value if math.isinf(value) else float(np.rint(value))


def _dequantize(walk: _Walk, node: onnx.NodeProto) -> Interval:
    zero = walk.of(node, 2) if len(node.input) > 2 and node.input[2] else Interval(0.0, 0.0)
    codes = walk.of(node, 0)
    return _product(Interval(codes.low - zero.high, codes.high - zero.low), walk.of(node, 1)).wider()


def _product(a: Interval, b: Interval) -> Interval:
    ends = [0.0 if x == 0 or y == 0 else x * y for x in a for y in b]
    return Interval(min(ends), max(ends))


def _add(walk: _Walk, node: onnx.NodeProto) -> Interval:
    a, b = walk.of(node, 0), walk.of(node, 1)
    return Interval(a.low + b.low, a.high + b.high).wider()


def _subtract(walk: _Walk, node: onnx.NodeProto) -> Interval:
    a, b = walk.of(node, 0), walk.of(node, 1)
    plain = Interval(a.low - b.high, a.high - b.low).wider()
    return Interval(plain.low, 0.0) if _is_peak_of(walk, node.input[1], node.input[0]) else plain


def _is_peak_of(walk: _Walk, peak: str, values: str) -> bool:
    """Whether a tensor is the maximum of another one, along an axis, both dequantized alike or not at all."""
    if (maximum := walk.maker(peak, "ReduceMax")) is not None:
        return str(maximum.input[0]) == values
    ours, theirs = walk.maker(peak, "DequantizeLinear"), walk.maker(values, "DequantizeLinear")
    if ours is None or theirs is None or ours.input[1:] != theirs.input[1:] or walk.of(ours, 1).low <= 0:
        return False
    return _is_peak_of(walk, ours.input[0], theirs.input[0])


def _multiply(walk: _Walk, node: onnx.NodeProto) -> Interval:
    a = walk.of(node, 0)
    if node.input[0] == node.input[1]:
        least = 0.0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high)) ** 2
        return Interval(least, a.largest**2).wider()
    return _product(a, walk.of(node, 1)).wider()


def _divide(walk: _Walk, node: onnx.NodeProto) -> Interval:
    a, b = walk.of(node, 0), walk.of(node, 1)
    if _is_norm_of(walk, node.input[1], node.input[0]):
        return _inside(a, Interval(-1.0, 1.0)).wider()
    if (centred := _centred_of(walk, *node.input)) is not None:
        room = _UNIT + centred.largest * 2.0**-24 / math.sqrt(0.5)
        return Interval(-room, room)
    if (values := _weighted_mean(walk, *node.input)) is not None:
        return values.wider()
    if b.low <= 0 <= b.high:
        return EVERYTHING
    ends = [x / y for x in a for y in b if not (math.isinf(x) and math.isinf(y))]
    return Interval(min([0.0, *ends]), max([0.0, *ends])).wider() if ends else EVERYTHING


def _is_norm_of(walk: _Walk, norm: str, values: str) -> bool:
    """Whether a tensor is the root of the sum of squares of another one, something that is not negative added."""
    name, squared = norm, False
    while (node := walk.graph.producers.get(name)) is not None:
        if node.op_type == "Mul" and node.input[0] == node.input[1]:
            return squared and str(node.input[0]) == values
        if node.op_type == "Add" and not (node.input[1] in walk.constants and walk.of(node, 1).low >= 0):
            return False
        if node.op_type not in ("Add", "Cast", "Expand", "ReduceSum", "Sqrt"):
            return False
        squared = squared or node.op_type == "Sqrt"
        name = node.input[0]
    return False


def _centred_of(walk: _Walk, values: str, deviation: str) -> Interval | None:
    """The whole numbers of which `values / deviation` is the unit of a layer norm with a mean; see docs/design.md, 4.

    The distance to the mean is at most the root of the sum of squares of all distances, which is what the two
    differences behind the sum of squares give (the bound `rounding of a variance`); the mean is rounded to float32.
    """
    centred, name = walk.maker(values, "Sub"), deviation
    for op in ("Cast", "Sqrt", "Add", "Sub", "Sub", "ReduceSum", "Mul", "Cast"):
        node = walk.maker(name, op)
        if node is None or centred is None:
            return None
        name = node.input[0]
    assert centred is not None
    return walk.of(centred, 0) if name == centred.input[0] else None


def _weighted_mean(walk: _Walk, sums: str, weights: str) -> Interval | None:
    """The values of which `sums / weights` is a mean: products with the same codes, divided by the sum of these.

    The codes themselves divided by their sum are shares, a mean of ones and zeros.
    """
    of_values, of_ones = walk.maker(sums, "MatMul"), walk.maker(weights, "MatMul")
    if of_ones is None or walk.found[of_ones.input[1]] != Interval(1.0, 1.0) or walk.of(of_ones, 0).low < 0:
        return None
    if sums == of_ones.input[0]:
        return Interval(0.0, 1.0)
    return walk.of(of_values, 1) if of_values is not None and of_values.input[0] == of_ones.input[0] else None


def _root(walk: _Walk, node: onnx.NodeProto) -> Interval:
    x = walk.of(node, 0)
    return Interval(math.sqrt(max(x.low, 0.0)), math.sqrt(max(x.high, 0.0))).wider()


def _absolute(walk: _Walk, node: onnx.NodeProto) -> Interval:
    x = walk.of(node, 0)
    return Interval(0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high)), x.largest)


def _negative(walk: _Walk, node: onnx.NodeProto) -> Interval:
    x = walk.of(node, 0)
    return Interval(-x.high, -x.low)


def _whole(walk: _Walk, node: onnx.NodeProto) -> Interval:
    x = walk.of(node, 0)
    return Interval(_rounded(x.low), _rounded(x.high))


def _sum(walk: _Walk, node: onnx.NodeProto) -> Interval:
    shape, x = walk.shapes.get(node.input[0]), walk.of(node, 0)
    axes = walk.constants.get(node.input[1]) if len(node.input) > 1 else None
    if shape is None or axes is None or any(not isinstance(shape[int(axis)], int) for axis in axes):
        return EVERYTHING
    count = math.prod(int(shape[int(axis)] or 0) for axis in axes)
    return Interval(x.low * count, x.high * count).wider()


def _matmul(walk: _Walk, node: onnx.NodeProto) -> Interval:
    weights = walk.constants.get(node.input[1])
    if weights is not None and weights.ndim >= 2:
        return _with_weights(walk.of(node, 0), np.moveaxis(weights, -2, 0).reshape(weights.shape[-2], -1)).wider()
    shape = walk.shapes.get(node.input[0])
    depth = shape[-1] if shape else None
    if not isinstance(depth, int):
        return EVERYTHING
    each = _product(walk.of(node, 0), walk.of(node, 1))
    return Interval(each.low * depth, each.high * depth).wider()


def _gemm(walk: _Walk, node: onnx.NodeProto) -> Interval:
    weights = walk.constants.get(node.input[1])
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
    bias = walk.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return _with_weights(walk.of(node, 0), weights, bias).wider()


def _convolve(walk: _Walk, node: onnx.NodeProto) -> Interval:
    weights = walk.constants.get(node.input[1])
    if weights is None:
        return EVERYTHING
    bias = walk.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    x = _hull(walk.of(node, 0), Interval(0.0, 0.0))  # zeros around the map
    return _with_weights(x, weights.reshape(len(weights), -1).T, bias).wider()


def _with_weights(x: Interval, weights: NDArray[Any], bias: NDArray[Any] | None = None) -> Interval:
    """Sums of products of inputs in an interval with the columns of [K, N], and a bias that broadcasts to them."""
    wide = weights.astype(np.float64)
    up, down = np.maximum(wide, 0).sum(axis=0), np.minimum(wide, 0).sum(axis=0)
    add = np.zeros(1) if bias is None else bias.astype(np.float64)
    if math.isinf(x.largest):
        return EVERYTHING
    # Two roundings to float32 and the larger terms that cancel: a share of the largest partial sum.
    room = x.largest * (up - down) * _WIDER
    low, high = up * x.low + down * x.high + add - room, up * x.high + down * x.low + add + room
    never_negative = x.low >= 0 and wide.min(initial=0.0) >= 0 and add.min() >= 0
    return Interval(max(float(low.min()), 0.0) if never_negative else float(low.min()), float(high.max()))


def _function(of: Callable[[NDArray[np.float64]], Any]) -> "_Rule":
    def rule(walk: _Walk, node: onnx.NodeProto) -> Interval:
        low, high = np.asarray(of(np.asarray(walk.of(node, 0), np.float64)))
        return Interval(float(low), float(high)).wider()

    return rule


def _exponential(walk: _Walk, node: onnx.NodeProto) -> Interval:
    x = walk.of(node, 0)
    low, high = (math.inf if end > 700 else math.exp(end) for end in x)
    return Interval(low, high).wider()


def _gelu(walk: _Walk, node: onnx.NodeProto) -> Interval:
    # x P(X <= x) falls down to -0.17 at -0.75 and grows from there on; below 0 it is never above 0.
    x = walk.of(node, 0)
    return Interval(0.0 if x.low >= 0 else -0.1701, max(0.0, x.high)).wider()


def _one_of(walk: _Walk, node: onnx.NodeProto) -> Interval:
    return _hull(walk.of(node, 1), walk.of(node, 2))


_Rule = Callable[[_Walk, onnx.NodeProto], Interval]
_MOVES: Sequence[str] = (
    *("Expand", "Flatten", "Gather", "Identity", "ReduceMax", "ReduceMin", "Reshape", "Slice", "Split", "Squeeze"),
    *("Tile", "Transpose", "Unsqueeze"),
)
_RULES: dict[str, _Rule] = {
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
