"""Numbers for what tensors are made of: two tensors of one number come from the same kernels, constants and inputs.

A graph's tensors get numbers by the op, its attributes and the numbers of its inputs. What moves elements and changes
no bits is worked into the number: transposes are composed and taken out of element-wise ops, channels-last forms are
turned back, Reshape and the like are marked but not told apart. int8 codes and constants count as the uint8 ones that
are 128 higher, which is how a runtime may hold them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Array = NDArray[Any]
#: Elements of a constant that is kept, and not only hashed.
_SMALL = 2**16

_SAME = frozenset({"Dropout", "Identity"})
_RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
MOVES = _SAME | _RESHAPES | {"Transpose"}
"""Ops that are worked into the numbers."""
SELECTS = frozenset({"Concat", "Expand", "Gather", "GatherElements", "Slice", "Split", "Tile"})
"""Ops that copy elements and compute nothing, wherever a runtime moves them to."""
_PRODUCTS = frozenset({"Gemm", "MatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QLinearMatMul"})
_BY_ELEMENT = frozenset(
    {"Abs", "Add", "Cast", "Ceil", "Clip", "Div", "Erf", "Exp", "Floor", "Gelu", "LeakyRelu", "Max", "Min", "Mul"}
    | {"Neg", "Pow", "QLinearAdd", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "Relu", "Round", "Sigmoid"}
    | {"Sqrt", "Sub", "Tanh"}
)
#: A runtime moves codes instead of floats, where these stand between DequantizeLinear and QuantizeLinear.
_DROPPED = frozenset(
    {"Expand", "Gather", "GatherElements", "MaxPool", "ReduceMax", "ReduceMin", "Resize", "Slice", "Tile", "reshaped"}
)
_NEUTRAL = {"Add": 0, "Div": 1, "Mul": 1, "Sub": 0}
_COMMUTING = frozenset({"Add", "Mul"})
_WITH_AXIS = frozenset({"Concat", "QLinearConcat", "QLinearSoftmax", "Softmax"})
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
#: Ops of a runtime, and the op of ONNX that has the same attributes.
_LIKE = {
    "NhwcMaxPool": "MaxPool",
    "QGemm": "Gemm",
    "QLinearAveragePool": "AveragePool",
    "QLinearConcat": "Concat",
    "QLinearConv": "Conv",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSoftmax": "Softmax",
}
#: Attributes that say nothing about the result, or that the shapes of the inputs repeat.
_SILENT = frozenset(
    {"channels_last", "n_outputs", "num_outputs", "of_matrix", "opset", "output_dtype", "saturate", "storage_order"}
)


@dataclass(frozen=True)
class Number:
    """What a tensor is made of, and the order in which its axes lie: `transpose(base, perm)`; () is as they are."""

    base: int
    perm: tuple[int, ...] = ()


class ValueNumbering:
    """Gives out numbers; one for both graphs that are compared.

    Args:
        wherever: movement is not told apart at all, nor axes. Where all sizes are fixed, a runtime takes transpositions
            through a Reshape, past it, and makes one of both.
    """

    def __init__(self, *, wherever: bool = False) -> None:
        self._wherever = wherever
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._keys: list[tuple[Any, ...]] = []
        self._constants: set[int] = set()
        self._arrays: dict[int, Array] = {}

    def named(self, name: str) -> Number:
        """A graph input."""
        return self._number("input", name)

    def constant(self, value: Array) -> Number:
        """A constant."""
        value = as_unsigned(np.asarray(value))
        if value.dtype == np.uint8 and value.ndim == 1 and value.size and (value == value[0]).all():
            value = value[:1]  # zero points, one for each channel
        if self._wherever:
            value = np.sort(value, axis=None)
        shape = () if value.size == 1 else value.shape[next((i for i, n in enumerate(value.shape) if n != 1), 0) :]
        number = self._number("constant", digest(value), shape)
        self._constants.add(number.base)
        if value.size <= _SMALL:
            self._arrays.setdefault(number.base, value)
        return number

    def of(self, op: str, inputs: Sequence[Number | None], attributes: Mapping[str, Any]) -> Number:
        """The first output of an op. The others are that of the same op with an index (see `output`)."""
        given = list(inputs)
        while given and given[-1] is None:
            given.pop()
        first = given[0] if given else None
        if first is None:
            return self._number(op, tuple(given), significant(op, attributes))
        if op in MOVES:
            return first if self._wherever else self._moved(op, first, attributes)
        if self._wherever:
            attributes = {name: value for name, value in attributes.items() if name not in ("axis", "channels_last")}
            given = [*given[:1], *given[2:]] if op in _REDUCTIONS else given
        if op in _PRODUCTS:
            given = [None if x is None else self._flat(x) for x in given]
        if op == "QuantizeLinear":
            given[0] = first = self._unlimited(given)
            codes = self._codes_behind(first, tuple(given[1:]))
            if codes is not None:
                return codes
        if attributes.get("channels_last", 0) or op == "NhwcMaxPool":
            rank = len(first.perm) or 4
            given[0] = self._transposed(first, (0, rank - 1, *range(1, rank - 1)))
            inner = self._number(op.removeprefix("Nhwc"), tuple(given), significant(op, attributes))
            return self._transposed(inner, (0, *range(2, rank), 1))
        if op in _REDUCTIONS and first.perm and attributes.get("keepdims", 1):
            return self._reduced(op, first, given[1:], significant(op, attributes))
        unchanged = self._unchanged(op, given)
        return unchanged if unchanged is not None else self._hoisted(op, given, significant(op, attributes))

    def output(self, first: Number, index: int) -> Number:
        """A further output of an op."""
        return first if index == 0 else self._number("output", first, index)

    def _moved(self, op: str, x: Number, attributes: Mapping[str, Any]) -> Number:
        if op in _SAME:
            return x
        if op == "Transpose":
            return self._transposed(x, tuple(attributes["perm"]))
        again = not x.perm and self._key(x)[0] == "reshaped"
        return x if again else self._number("reshaped", (x,), ())

    def _unchanged(self, op: str, given: Sequence[Number | None]) -> Number | None:
        """What a product with 1 or a sum with 0 gives back: a runtime leaves such nodes out."""
        neutral = _NEUTRAL.get(op)
        if neutral is None or len(given) != 2:
            return None
        for place in (1, 0) if op in _COMMUTING else (1,):
            other, x = given[place], given[1 - place]
            if other is None or x is None or not self._is_constant(other):
                continue
            if self._arrays[other.base].size == 1 and self._arrays[other.base].ravel()[0] == neutral:
                return x
        return None

    def _hoisted(self, op: str, given: list[Number | None], values: tuple[Any, ...]) -> Number:
        """The op; where it works by element, on tensors whose axes lie as they were made, and transposed after it."""
        per_tensor = op in ("QuantizeLinear", "DequantizeLinear") and all(self._is_scalar(x) for x in given[1:])
        if per_tensor:
            values = tuple(item for item in values if item[0] != "axis")
        if op in _COMMUTING:
            given.sort(key=lambda x: (-1, ()) if x is None else (x.base, x.perm))
        perms = {x.perm for x in given if x is not None and x.base not in self._constants}
        perm = perms.pop() if len(perms) == 1 else ()
        if not perm or not (per_tensor or op in _BY_ELEMENT or op in _WITH_AXIS):
            return self._number(op, tuple(given), values)
        if op in _WITH_AXIS:
            named = dict(values)
            axis = named.get("axis", -1)
            values = tuple(sorted((named | {"axis": perm[axis % len(perm)]}).items()))
        bases = [None if x is None else self._untransposed(x, perm) for x in given]
        return Number(self._number(op, tuple(bases), values).base, perm)

    def _reduced(self, op: str, x: Number, given: Sequence[Number | None], values: tuple[Any, ...]) -> Number:
        """A reduction of a tensor as it was made, and the transposition after it."""
        axes = given[0] if given else None
        if axes is None or not self._is_constant(axes):
            return self._number(op, (x, *given), values)
        moved = sorted(x.perm[axis % len(x.perm)] for axis in self._arrays[axes.base].ravel().tolist())
        reduced = self._number(op, (Number(x.base), self.constant(np.array(moved, np.int64)), *given[1:]), values)
        return Number(reduced.base, x.perm)

    def _untransposed(self, x: Number, perm: tuple[int, ...]) -> Number:
        if x.base not in self._constants:
            return Number(x.base)
        value = self._arrays.get(x.base, np.empty((1,) * (len(perm) + 1)))
        if value.size == 1 or value.ndim > len(perm):
            return x
        padded = value.reshape(*[1] * (len(perm) - value.ndim), *value.shape)
        return self.constant(padded.transpose(np.argsort(perm)))

    def _transposed(self, x: Number, perm: tuple[int, ...]) -> Number:
        if self._is_constant(x) and self._arrays[x.base].ndim == len(perm):
            return self.constant(self._arrays[x.base].transpose(perm))
        composed = tuple(x.perm[axis] for axis in perm) if x.perm else perm
        return Number(x.base, () if composed == tuple(range(len(perm))) else composed)

    def _flat(self, x: Number) -> Number:
        key = self._key(x)
        inner: Number = key[1][0] if key[0] == "reshaped" and not x.perm else x
        return inner

    def _codes_behind(self, x: Number, parameters: tuple[Number | None, ...]) -> Number | None:
        """The codes that a QuantizeLinear gives back, where x was dequantized on the same scale and only moved."""
        key = self._key(x)
        if key[0] == "DequantizeLinear" and key[1][1:] == parameters:
            inner: Number = key[1][0]
            return Number(inner.base, x.perm) if not inner.perm else None if x.perm else inner
        if key[0] in _DROPPED and not x.perm and key[1]:
            codes = self._codes_behind(key[1][0], parameters)
            return None if codes is None else self._number(key[0], (codes, *key[1][1:]), *key[2:])
        return None

    def _unlimited(self, given: Sequence[Number | None]) -> Number:
        """What a QuantizeLinear reads, before a Relu or Clip that changes none of its codes."""
        x, scale, zero = (*given, None)[:3]
        assert x is not None
        key = self._key(x)
        if key[0] not in ("Relu", "Clip") or scale is None or not self._is_constant(scale):
            return x
        if not (self._is_scalar(scale) and self._is_scalar(zero)):
            return x
        if zero is not None and self._arrays[zero.base].dtype != np.uint8:
            return x  # other ends than 0 and 255; int8 is held as uint8 here
        inner, *limits = key[1]
        step = float(self._arrays[scale.base].ravel()[0])
        code = float(self._arrays[zero.base].ravel()[0]) if zero is not None and self._is_constant(zero) else 0.0
        low = 0.0 if key[0] == "Relu" else self._limit(limits, 0, -np.inf)
        high = np.inf if key[0] == "Relu" else self._limit(limits, 1, np.inf)
        if np.rint(low / step) + code <= 0 and np.rint(min(high / step, 1e9)) + code >= 255:
            return Number(inner.base, x.perm or inner.perm)
        return x

    def _limit(self, limits: Sequence[Number | None], index: int, missing: float) -> float:
        limit = limits[index] if len(limits) > index else None
        if limit is None:
            return missing
        return float(self._arrays[limit.base].ravel()[0]) if self._is_constant(limit) else float("nan")

    def _is_constant(self, x: Number) -> bool:
        return x.base in self._arrays and not x.perm

    def _is_scalar(self, x: Number | None) -> bool:
        return x is None or (self._is_constant(x) and self._arrays[x.base].size == 1)

    def _key(self, x: Number) -> tuple[Any, ...]:
        return self._keys[x.base]

    def _number(self, *key: Any) -> Number:
        if key not in self._numbers:
            self._numbers[key] = len(self._keys)
            self._keys.append(key)
        return Number(self._numbers[key])


def significant(op: str, attributes: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The attributes that tell ops apart: none that has its default value or changes no result."""
    like = _LIKE.get(op, op)
    kept = {}
    for name, value in attributes.items():
        plain = tuple(value) if isinstance(value, (list, tuple)) else value
        if isinstance(plain, bytes):
            plain = plain.decode(errors="replace")
        if isinstance(plain, np.ndarray):
            plain = (digest(plain), plain.shape)
        trivial = isinstance(plain, tuple) and name in ("dilations", "pads", "strides") and set(plain) <= {1, 0}
        if trivial and set(plain) == ({0} if name == "pads" else {1}):
            continue
        if name in _SILENT or (like == "Conv" and name == "kernel_shape") or plain == _default(like, name):
            continue
        kept[name] = round(plain, 6) if isinstance(plain, float) else plain
    return tuple(sorted(kept.items()))


def _default(op: str, name: str) -> Any:
    if not onnx.defs.has(op):
        return None
    attribute = onnx.defs.get_schema(op).attributes.get(name)
    if attribute is None or not attribute.default_value.type:
        return None
    value = onnx.helper.get_attribute_value(attribute.default_value)
    return value.decode() if isinstance(value, bytes) else value


def as_unsigned(value: Array) -> Array:
    """int8 codes as the uint8 ones that are 128 higher; anything else as it is."""
    return (value.view(np.uint8) ^ 0x80) if value.dtype == np.int8 else value


def digest(value: Array) -> bytes:
    """A hash of a constant's type and values."""
    found = hashlib.blake2b(str(value.dtype).encode(), digest_size=16)
    found.update(np.ascontiguousarray(value).tobytes())
    return found.digest()
