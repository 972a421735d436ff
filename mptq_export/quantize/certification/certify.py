"""Certified transcendentals: every code that Exp or an activation function can give is clear of a rounding boundary.

A runtime's Exp, Gelu or Sigmoid may differ from the true function, by as much as `assumption.py` says. Where every
result is at least that far from every rounding boundary, and at least `MARGIN` of a step, for each of the at most 256
(or, with a bias, few thousand) arguments that can occur, every such runtime gives the same code. Scales are nudged by
up to 2 % until this holds. A step that is finer than what a runtime's function is good for is made larger.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.function_names import Function
from mptq_export.quantize.certification.assumption import largest_error
from mptq_export.quantize.certification.boundaries import MARGIN, boundary_distances
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.errors import MptqError

#: Relative changes of a scale that are tried, nearest first, then coarser ones up to 2 %.
_NUDGES = (*(2e-6 * n for n in range(1, 1001)), *(2e-3 + 2e-5 * n for n in range(1, 901)))
_NEARBY = (0.0, *(sign * n for n in _NUDGES for sign in (1, -1)))

#: A step that is too fine is made larger by these factors, each with some smaller ones.
_LARGER = tuple(1.04**n * (1 + 2e-4 * m) for n in range(1, 600) for m in range(100))


@dataclass(frozen=True)
class Results:
    """All results that a function can give, and what is known of a runtime's.

    Attributes:
        exact: float64 results.
        error: how far a runtime's may be from them, same shape.
    """

    exact: NDArray[np.float64]
    error: NDArray[np.float64]

    @staticmethod
    def of_codes(source: ActivationQuant, function: Function) -> "Results":
        """An activation function of every argument that the codes of `source` can give, in code order."""
        codes = (np.arange(source.low, source.high + 1) - source.zero_point).astype(np.float32)
        argument = (codes * np.float32(source.scale)).astype(np.float64)
        exact = FUNCTIONS[function].exact(argument)
        return Results(exact, largest_error(function, argument, exact))

    @staticmethod
    def of_distances(score_scale: float, furthest: int) -> "Results":
        """Exp of every distance to a row's maximum: `exp(-k * score_scale)` for k = 0 .. furthest."""
        argument = -np.arange(furthest + 1, dtype=np.float64) * score_scale
        exact = np.exp(argument)
        return Results(exact, largest_error("exp", argument, exact))

    def margin(self, quant: ActivationQuant) -> float:
        """Smallest distance of a result to a rounding boundary, in steps of its region."""
        return region_margin(self.exact / quant.scale, quant)

    def exposure(self, quant: ActivationQuant) -> float:
        """The largest share of the distance to a rounding boundary that a runtime's error may take up."""
        steps, error = self.exact / quant.scale, self.error / quant.scale
        with np.errstate(divide="ignore"):
            return max(float((error / unit / apart).max()) for unit, apart in _distances(steps, quant))

    def reached(self, quant: ActivationQuant) -> tuple[float, float]:
        """Least and greatest result that a runtime may give, in steps."""
        low, high = self.exact - self.error, self.exact + self.error
        return float(low.min() / quant.scale), float(high.max() / quant.scale)


def activation_results(source: ActivationQuant, function: Function) -> NDArray[np.float64]:
    """An activation function of every argument that the codes of `source` can give, in code order."""
    return Results.of_codes(source, function).exact


def region_margin(steps: NDArray[np.float64], quant: ActivationQuant) -> float:
    """Smallest distance of `x / scale` to a rounding boundary of any region, in steps of that region.

    Args:
        steps: `x / quant.scale`.
        quant: the quantizer; without regions it has one.
    """
    return min(float(apart.min()) for _, apart in _distances(steps, quant))


def _distances(steps: NDArray[np.float64], quant: ActivationQuant) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Of every region: its step, and the distances of values to its nearest rounding boundary in that step."""
    for run in quant.runs():
        yield run.unit, boundary_distances(steps / run.unit, run.first, run.last)


def certify_activation(
    layer: str, source: ActivationQuant, target: ActivationQuant, function: Function
) -> ActivationQuant:
    """Nudge the output scale of an activation function until all codes are certain.

    Args:
        layer: name for errors.
        source: quantizer of the argument.
        target: wanted quantizer of the result.
        function: its name.

    Returns:
        `target` with a scale that differs by at most 2 %; with a larger one where a runtime's function is not good
        enough for so fine a step, as where all results are nearly 0.

    Raises:
        MptqError: no nearby scale has the margin.
    """
    results = Results.of_codes(source, function)
    found = _nearest(target, results, _NEARBY)
    if found is not None:
        return found
    if results.exposure(target) > 1:
        found = _nearest(target, results, (factor - 1 for factor in _LARGER))
    if found is None:
        raise _refusal(layer, function, target, results)
    reason = f"{target.reason}; a larger step, as {function} is nearly 0 here".removeprefix("; ")
    return replace(found, reason=reason)


def short_scale(scale: float, furthest: int) -> float:
    """The score scale with so few mantissa bits that `k * scale` and their differences are exact in float32.

    Args:
        scale: wanted score scale.
        furthest: largest distance of a score to its row maximum, in codes.
    """
    return _short_mantissa(scale, 24 - max(furthest, 255).bit_length())


def certify_attention(layer: str, target: ActivationQuant, score_scale: float, furthest: int) -> ActivationQuant:
    """Nudge the scale of the attention codes until `exp(-k * score_scale)` is certain for k = 0 .. furthest.

    Args:
        layer: name for errors.
        target: wanted quantizer.
        score_scale: scale of the scores.
        furthest: largest distance of a score to its row maximum, in codes.

    Returns:
        `target` with a scale that differs by at most 2 %.

    Raises:
        MptqError: no nearby scale has the margin.
    """
    results = Results.of_distances(score_scale, furthest)
    found = _nearest(target, results, _NEARBY)
    if found is None:
        raise _refusal(layer, "Exp", target, results)
    return found


def _short_mantissa(value: float, bits: int) -> float:
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 2**bits), exponent - bits)


def _nearest(target: ActivationQuant, results: Results, nudges: Iterable[float]) -> ActivationQuant | None:
    """The quantizer with the first of these relative changes of its scale whose codes are certain."""
    for nudge in nudges:
        found = replace(target, scale=float(np.float32(target.scale * (1 + nudge))))
        if results.margin(found) >= MARGIN and results.exposure(found) <= 1:
            return found
    return None


def _refusal(layer: str, op: str, target: ActivationQuant, results: Results) -> MptqError:
    scales = (float(np.float32(target.scale * (1 + nudge))) for nudge in _NEARBY)
    best = max(results.margin(replace(target, scale=scale)) for scale in scales)
    return MptqError(
        f"{layer}: no scale near {target.scale:.6g} keeps {op} {MARGIN} of a step away from every rounding boundary "
        f"(best {best:.1e}), and further than a runtime's {op} may be wrong; change the bits of this layer or the "
        "calibration images"
    )
