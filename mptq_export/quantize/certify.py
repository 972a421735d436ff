"""Certified transcendentals: every code that Exp or Gelu can give is clear of a rounding boundary.

A runtime's Exp or Gelu may differ from the true function in the last bits. Where `f(x) / scale` is at least `MARGIN`
of a step away from every rounding boundary, for each of the at most 256 (or, with a bias, few thousand) arguments that
can occur, every runtime whose error is below that margin gives the same code. Scales are nudged by up to 2 %
until this holds.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mptq_export.errors import MptqError
from mptq_export.recipe.schema import ActivationQuant

#: Smallest distance to a rounding boundary, in steps. Float32 Exp and Gelu are good to 1e-4 of a step at 8 bits.
MARGIN = 1e-3

#: Relative changes of a scale that are tried, nearest first, then coarser ones up to 2 %.
_NUDGES = (*(2e-6 * n for n in range(1, 1001)), *(2e-3 + 2e-5 * n for n in range(1, 901)))


def gelu(x: NDArray[np.float64], approximate: str) -> NDArray[np.float64]:
    """GELU in float64: `x (1 + erf(x / sqrt 2)) / 2`, or its tanh approximation."""
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    return np.asarray([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.tolist()])


def gelu_results(source: ActivationQuant, approximate: str) -> NDArray[np.float64]:
    """GELU of every argument that the codes of `source` can give, in code order."""
    argument = (np.arange(source.low, source.high + 1) - source.zero_point).astype(np.float32)
    return gelu((argument * np.float32(source.scale)).astype(np.float64), approximate)


def margin(steps: NDArray[np.float64], low: int, high: int) -> float:
    """Smallest distance of code values to a rounding boundary between two codes in [low, high]."""
    boundary = np.clip(np.floor(steps) + 0.5, low + 0.5, high - 0.5)
    return float(np.abs(steps - boundary).min())


def certify_gelu(layer: str, source: ActivationQuant, target: ActivationQuant, approximate: str) -> ActivationQuant:
    """Nudge the output scale of a GELU until all codes are certain.

    Args:
        layer: name for errors.
        source: quantizer of the argument.
        target: wanted quantizer of the result.
        approximate: `none` or `tanh`.

    Returns:
        `target` with a scale that differs by at most 2 %.

    Raises:
        MptqError: no nearby scale has the margin.
    """
    exact = gelu_results(source, approximate)

    def value(scale: np.float32) -> NDArray[np.float64]:
        return exact / float(scale) + target.zero_point

    scale = _search(layer, "Gelu", target.scale, lambda s: margin(value(s), target.low, target.high))
    return ActivationQuant(float(scale), target.zero_point, target.low, target.high, target.bits, target.reason)


def certify_exp(layer: str, scale: float, span: int, levels: int) -> float:
    """Nudge the score scale so that `exp(-k * scale) * levels` is certain for k = 0 .. span.

    The scale keeps so few mantissa bits that `k * scale` and differences of such products are exact in float32.

    Args:
        layer: name for errors.
        scale: wanted score scale.
        span: largest difference of a score to its row maximum, in codes.
        levels: largest attention code (255 at 8 bits).

    Returns:
        The nudged scale.

    Raises:
        MptqError: no nearby scale has the margin.
    """
    bits = 24 - max(span, 255).bit_length()
    k = np.arange(span + 1, dtype=np.float64)

    def distance(candidate: np.float32) -> float:
        return margin(np.exp(-k * float(candidate)) * levels, 0, levels)

    return float(_search(layer, "Exp", scale, distance, lambda s: _short_mantissa(s, bits)))


def _short_mantissa(value: float, bits: int) -> float:
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 2**bits), exponent - bits)


def _search(
    layer: str,
    op: str,
    scale: float,
    distance: Callable[[np.float32], float],
    shorten: Callable[[float], float] = float,
) -> np.float32:
    """The scale nearest to the wanted one (larger first) whose codes have the margin."""
    best = 0.0
    for nudge in (0.0, *(sign * n for n in _NUDGES for sign in (1, -1))):
        candidate = np.float32(shorten(scale * (1 + nudge)))
        best = max(best, found := distance(candidate))
        if found >= MARGIN:
            return candidate
    raise MptqError(
        f"{layer}: no scale near {scale:.6g} keeps {op} {MARGIN} of a step away from every rounding boundary (best "
        f"{best:.1e}); change the bits of this layer or the calibration images"
    )
