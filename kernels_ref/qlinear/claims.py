"""When an op on codes claims equal bits: all results that its scales allow are clear of every rounding boundary.

CPUs compute these ops by different formulas (with and without fused multiply-add; arm64 with integer factors). They
agree on a code where the exact result is farther from a boundary than any of them errs. So all pairs of codes, or all
sums, are tried: a claim does not depend on the codes at hand.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from kernels_ref.ops.types import Array
from kernels_ref.qlinear.parameters import quantized, target
from kernels_ref.qlinear.softmax import row_length, shift_of

#: What a formula errs by: this part of the sum of the sizes of its terms (arm64 rounds factors to 22 bits).
_ERROR = 2.0**-21
#: A runtime's sigmoid is good to this part of its result.
_FUNCTION = 2.0**-20
_MOST_SUMS = 2**22


def sums_of_codes(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """Sums of two codes."""
    a, b = quantized(inputs, 0), quantized(inputs, 3)
    y = target(inputs, 6, a.codes.dtype)
    ra, rb = float(a.scale) / float(y.scale), float(b.scale) / float(y.scale)
    close = _close_sums(ra, rb, (float(a.zero), float(b.zero), float(y.zero)), a.codes.dtype == np.uint8)
    return f"CPUs may round {close} of 65536 pairs of codes to different codes" if close else ""


def products_of_codes(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """Products of two codes."""
    a, b = quantized(inputs, 0), quantized(inputs, 3)
    y = target(inputs, 6, a.codes.dtype)
    ratio = float(a.scale) * float(b.scale) / float(y.scale)
    close = _close_products(ratio, (float(a.zero), float(b.zero), float(y.zero)), a.codes.dtype == np.uint8)
    return f"CPUs may round {close} of 65536 pairs of codes to different codes" if close else ""


def global_average(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """Every sum of codes that there can be."""
    x = quantized(inputs, 0)
    y = target(inputs, 3, x.codes.dtype)
    count = x.codes.size // max(outputs[0].size, 1)
    if 255 * count > _MOST_SUMS:
        return f"sums of {count} codes are too many to try, and CPUs may round them to different codes"
    sums = np.arange(255 * count + 1) - (float(x.zero) - float(np.iinfo(x.codes.dtype).min)) * count
    close = _close(sums * (float(x.scale) / (float(y.scale) * count)), float(y.zero), y.dtype == np.uint8, 0.0)
    return f"CPUs may round {close} of {sums.size} sums to different codes" if close else ""


def average(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """A float32 sum over a window."""
    return "a runtime may add the floats of a window in another way"


def sigmoid_table(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """Every code's sigmoid."""
    x = quantized(inputs, 0)
    y = target(inputs, 3, x.codes.dtype)
    every = np.arange(256) + float(np.iinfo(x.codes.dtype).min)
    exact = 1 / (1 + np.exp(-(every - float(x.zero)) * float(x.scale))) / float(y.scale)
    close = _close(exact, float(y.zero), y.dtype == np.uint8, _FUNCTION * float(exact.max()))
    return f"a runtime's sigmoid may give another code for {close} of 256" if close else ""


def exponentials(inputs: Sequence[Array | None], attributes: Mapping[str, Any], outputs: Sequence[Array]) -> str:
    """A table of float32 exponentials, from float64: equal unless one lies within 2^-48 of a rounding boundary."""
    x = quantized(inputs, 0)
    scale = float(x.scale)
    shift = shift_of(scale, row_length(x.codes.shape, attributes))
    exact = np.array([math.exp((i - 255 + shift) * scale) for i in range(256)])
    mantissa, _ = np.frexp(exact)
    distance = np.abs((mantissa * 2.0**24) % 1 - 0.5)
    normal = exact > float(np.finfo(np.float32).tiny)
    close = int(np.count_nonzero(normal & (distance < 2.0**-22)))
    return f"a runtime may round {close} of 256 exponentials to another float32" if close else ""


@cache
def _close_sums(ra: float, rb: float, zeros: tuple[float, float, float], unsigned: bool) -> int:
    a, b = _pairs(zeros, unsigned)
    return _close(a * ra + b * rb, zeros[2], unsigned, _ERROR * (512 * (ra + rb) + 256))


@cache
def _close_products(ratio: float, zeros: tuple[float, float, float], unsigned: bool) -> int:
    a, b = _pairs(zeros, unsigned)
    return _close(a * b * ratio, zeros[2], unsigned, 0.0)


def _pairs(zeros: tuple[float, float, float], unsigned: bool) -> tuple[Array, Array]:
    every = np.arange(256) - (0.0 if unsigned else 128.0)
    return every[:, None] - zeros[0], every[None, :] - zeros[1]


def _close(exact: Array, zero: float, unsigned: bool, error: float) -> int:
    """How many results lie within an error of a rounding boundary between two codes.

    Args:
        exact: in steps, without zero point.
        zero: the zero point.
        unsigned: whether the codes are uint8.
        error: in steps; at least this part of 256 steps that float32 leaves.
    """
    low, high = (0.0, 255.0) if unsigned else (-128.0, 127.0)
    code = exact + zero
    inside = (code > low - 1) & (code < high + 1)
    return int(np.count_nonzero(inside & (np.abs(code % 1 - 0.5) <= max(error, _ERROR * 256))))
