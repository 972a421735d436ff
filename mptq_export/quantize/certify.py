"""Certified transcendentals: every code that Exp or an activation function can give is clear of a rounding boundary.

A runtime's Exp, Gelu or Sigmoid may differ from the true function in the last bits. Where `f(x) / scale` is at least
`MARGIN` of a step away from every rounding boundary, for each of the at most 256 (or, with a bias, few thousand)
arguments that can occur, every runtime whose error is below that margin gives the same code. Scales are nudged by up to
2 % until this holds.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mptq_export.capture.activations import SIGMOID_SLOPES
from mptq_export.errors import MptqError
from mptq_export.recipe.schema import ActivationQuant, Region

#: Smallest distance to a rounding boundary, in steps. Float32 Exp and Gelu are good to 1e-4 of a step at 8 bits.
MARGIN = 1e-3

#: Relative changes of a scale that are tried, nearest first, then coarser ones up to 2 %.
_NUDGES = (*(2e-6 * n for n in range(1, 1001)), *(2e-3 + 2e-5 * n for n in range(1, 901)))


def activation(x: NDArray[np.float64], function: str) -> NDArray[np.float64]:
    """An activation function in float64.

    Args:
        x: float64 arguments.
        function: `gelu`: `x (1 + erf(x / sqrt 2)) / 2`; `gelu_tanh`: its tanh approximation; `silu`:
            `x / (1 + e^-x)`; `quick_gelu`: `x / (1 + e^(-1.702 x))`; `sigmoid`: `1 / (1 + e^-x)`; `tanh`;
            `hardswish`: `x min(max(x + 3, 0), 6) / 6`; `relu`: `max(x, 0)`.
    """
    if function == "gelu_tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    if function in SIGMOID_SLOPES:
        return np.asarray(x * expit(SIGMOID_SLOPES[function] * x))
    if function == "sigmoid":
        return np.asarray(expit(x))
    if function == "tanh":
        return np.tanh(x)
    if function == "hardswish":
        return np.asarray(x * np.clip(x + 3, 0, 6) / 6)
    if function == "relu":
        return np.maximum(x, 0)
    return np.asarray([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.tolist()])


def activation_results(source: ActivationQuant, function: str) -> NDArray[np.float64]:
    """An activation function of every argument that the codes of `source` can give, in code order."""
    argument = (np.arange(source.low, source.high + 1) - source.zero_point).astype(np.float32)
    return activation((argument * np.float32(source.scale)).astype(np.float64), function)


def margin(steps: NDArray[np.float64], low: int, high: int) -> float:
    """Smallest distance of code values to a rounding boundary between two codes in [low, high]."""
    boundary = np.clip(np.floor(steps) + 0.5, low + 0.5, high - 0.5)
    return float(np.abs(steps - boundary).min())


def region_margin(steps: NDArray[np.float64], quant: ActivationQuant) -> float:
    """Smallest distance of `x / scale` to a rounding boundary of any region, in steps of that region.

    Args:
        steps: `x / quant.scale`.
        quant: the quantizer; without regions it has one.
    """
    start, smallest = quant.low, math.inf
    for region in quant.regions or (Region(0, quant.high),):
        unit = 1 << region.shift
        first, last = (start - quant.zero_point) // unit, (region.last - quant.zero_point) // unit
        smallest = min(smallest, margin(steps / unit, first, last))
        start = region.last
    return smallest


def certify_activation(layer: str, source: ActivationQuant, target: ActivationQuant, function: str) -> ActivationQuant:
    """Nudge the output scale of an activation function until all codes are certain.

    Args:
        layer: name for errors.
        source: quantizer of the argument.
        target: wanted quantizer of the result.
        function: as for `activation`.

    Returns:
        `target` with a scale that differs by at most 2 %.

    Raises:
        MptqError: no nearby scale has the margin.
    """
    exact = activation_results(source, function)
    scale = _search(layer, function, target.scale, lambda s: region_margin(exact / float(s), target))
    return replace(target, scale=float(scale))


def short_scale(scale: float, span: int) -> float:
    """The score scale with so few mantissa bits that `k * scale` and their differences are exact in float32.

    Args:
        scale: wanted score scale.
        span: largest difference of a score to its row maximum, in codes.
    """
    return _short_mantissa(scale, 24 - max(span, 255).bit_length())


def certify_attention(layer: str, target: ActivationQuant, score_scale: float, span: int) -> ActivationQuant:
    """Nudge the scale of the attention codes until `exp(-k * score_scale)` is certain for k = 0 .. span.

    Args:
        layer: name for errors.
        target: wanted quantizer.
        score_scale: scale of the scores.
        span: largest difference of a score to its row maximum, in codes.

    Returns:
        `target` with a scale that differs by at most 2 %.

    Raises:
        MptqError: no nearby scale has the margin.
    """
    exact = np.exp(-np.arange(span + 1, dtype=np.float64) * score_scale)
    scale = _search(layer, "Exp", target.scale, lambda s: region_margin(exact / float(s), target))
    return replace(target, scale=float(scale))


def _short_mantissa(value: float, bits: int) -> float:
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 2**bits), exponent - bits)


def _search(
    layer: str,
    op: str,
    scale: float,
    distance: Callable[[np.float32], float],
) -> np.float32:
    """The scale nearest to the wanted one (larger first) whose codes have the margin."""
    best = 0.0
    for nudge in (0.0, *(sign * n for n in _NUDGES for sign in (1, -1))):
        candidate = np.float32(scale * (1 + nudge))
        best = max(best, found := distance(candidate))
        if found >= MARGIN:
            return candidate
    raise MptqError(
        f"{layer}: no scale near {scale:.6g} keeps {op} {MARGIN} of a step away from every rounding boundary (best "
        f"{best:.1e}); change the bits of this layer or the calibration images"
    )
