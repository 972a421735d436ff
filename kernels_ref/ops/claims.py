"""When an op claims equal bits: every runtime that meets the specification gives what it gives here.

A claim is made for what an op was given and gave, not for the op alone: a sum of whole floats below 2^24 has the same
bits in every order, other sums have not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.quantize_linear import code_range
from kernels_ref.ops.reduction import reduction
from kernels_ref.ops.types import Array

#: `claim(inputs, attributes, outputs)` is '' where equal bits are claimed, else the reason why not, in one line.
Claim = Callable[[Sequence[Array | None], Mapping[str, Any], Sequence[Array]], str]

_BITS_OF_SUM = {np.dtype(np.float32): 24, np.dtype(np.float64): 53}
_ORDER = "a runtime may add floats in another order"
_TWICE = "an element is replaced twice, and either may be the result"
_ZERO_SIGN = "0.0 and -0.0 meet, and either may be the result"


def always(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """What moves, compares, counts, or rounds once as IEEE 754 says."""
    return ""


def function(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """A transcendental function, which no runtime rounds correctly."""
    return "a runtime's function may differ in the last bits"


def order(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """A sum of products of floats."""
    return _ORDER


def integers_only(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """What is exact in integers."""
    return "" if outputs[0].dtype.kind in "biu" else "a runtime may round floats in between"


def float32_only(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """(De)quantization: a runtime may compute floats of 16 bits in float32."""
    scale = inputs[1]
    return "" if scale is not None and scale.dtype == np.float32 else "a runtime may compute this type in another"


def shift(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """A shift by less than the width."""
    x, y = inputs[:2]
    if x is None or y is None or ((y >= 0) & (y < 8 * x.dtype.itemsize)).all():
        return ""
    return "a shift by the width of the type or more is left to the CPU by runtimes"


def scattered(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """Every element is changed once; whole numbers may be added up in any order."""
    if attributes.get("reduction", "none") == "none":
        x, indices = inputs[0], inputs[1]
        if x is None or indices is None:
            return _TWICE
        axis = attributes.get("axis", 0)
        order = np.sort(indices % max(1, x.shape[axis]), axis=axis)
        return _TWICE if (np.diff(order, axis=axis) == 0).any() else ""
    return integers_only(inputs, attributes, outputs)


def rest(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """The rest of integers; that of floats with the sign of A is exact, but for the sign of a zero."""
    if outputs[0].dtype.kind in "iu":
        return ""
    if not attributes.get("fmod", 0):
        return "a runtime may round the quotient"
    return _ZERO_SIGN if (outputs[0] == 0).any() else ""


def power(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """Squares of floats are products, rounded once; a runtime has its own way to all other powers."""
    x, y = inputs[:2]
    square = x is not None and x.dtype.kind == "f" and y is not None and bool((y == 2).all())
    return "" if square else "a runtime has its own ways to powers other than squares"


def conversion(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """A float becomes an integer where the type holds it."""
    x, y = inputs[0], outputs[0]
    if x is None or "float" not in x.dtype.name:
        return ""
    if "float" in y.dtype.name and y.dtype.itemsize < 4 and x.dtype.itemsize > 4:
        return "" if (x.astype(np.float32) == x).all() else "a runtime may round twice, to float32 in between"
    if "int" not in y.dtype.name:
        return ""
    low, high = code_range(y.dtype)
    wide = x.astype(np.float64)
    if y.dtype.kind == "V" and (wide != np.rint(wide)).any():
        return f"a fraction becomes {y.dtype}, which runtimes round or cut"
    # The greatest 64-bit integers are no floats: the next power of two is, and is too great.
    inside = (np.trunc(wide) >= float(low)) & (np.trunc(wide) < float(high + 1))
    return "" if inside.all() else f"a float is outside of {y.dtype}, which ONNX leaves open"


def sum_along_axes(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """Integers, and floats whose sum is exact in every order."""
    x, axes, _ = reduction(inputs, attributes)
    if x.dtype.kind != "f":
        return ""
    if (outputs[0] == 0).any() and _negative_zeros(x).all(axis=axes).any():
        return "a sum of -0.0 alone is 0.0 or -0.0"
    return "" if x.dtype in _BITS_OF_SUM and _exact_in_any_order(x, axes, _BITS_OF_SUM[x.dtype]) else _ORDER


def greatest(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """The greatest or the least of several tensors."""
    arrays = [x for x in inputs if x is not None]
    if len(arrays) < 2 or not any(_negative_zeros(x).any() for x in arrays):
        return ""
    minus = np.logical_or.reduce(np.broadcast_arrays(*map(_negative_zeros, arrays)))
    plus = np.logical_or.reduce(np.broadcast_arrays(*map(_positive_zeros, arrays)))
    return _ZERO_SIGN if (minus & plus & (outputs[0] == 0)).any() else ""


def greatest_along_axes(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """The greatest or the least along axes."""
    x, axes, keepdims = reduction(inputs, attributes)
    minus = _negative_zeros(x)
    if not minus.any():
        return ""
    both = minus.any(axis=axes, keepdims=keepdims) & _positive_zeros(x).any(axis=axes, keepdims=keepdims)
    return _ZERO_SIGN if (both & (outputs[0] == 0)).any() else ""


def limits(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """What is between limits, unless both are zeros."""
    return next(
        (
            _ZERO_SIGN
            for limit in inputs[1:3]
            if limit is not None and greatest((inputs[0], limit.reshape(())), {}, outputs)
        ),
        "",
    )


def not_below_zero(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """`max(x, 0)`, unless x is -0.0."""
    x = inputs[0]
    return _ZERO_SIGN if x is not None and _negative_zeros(x).any() else ""


def choice(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """An element of one of two tensors, unless it is -0.0, which a runtime that adds masked tensors loses."""
    lost = any(x is not None and _negative_zeros(x).any() for x in inputs[1:3])
    return "a runtime may give 0.0 for -0.0" if lost else ""


def _negative_zeros(x: Array) -> Array:
    if x.dtype.kind != "f":
        return np.zeros(x.shape, np.bool_)
    return np.asarray((x == 0) & np.signbit(x))


def _positive_zeros(x: Array) -> Array:
    return np.asarray((x == 0) & ~np.signbit(x))


def _exact_in_any_order(x: Array, axes: tuple[int, ...] | None, bits: int) -> bool:
    """Whether all terms are multiples of one unit of which no sum of some of them takes 2^bits or more."""
    wide = np.abs(x.astype(np.float64))
    most = float(wide.sum(axis=axes).max(initial=0.0))
    if most == 0:
        return True
    if not np.isfinite(most):
        return False
    # The sum itself is rounded: a little is added, for the power of two that is surely above.
    unit = 2.0 ** (np.ceil(np.log2(most * (1 + 2**-20))) - bits)
    units = wide / unit
    return bool((units == np.rint(units)).all())
