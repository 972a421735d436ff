"""Uniform activation quantizers: by the range of the calibration images, or by the error of what reads them."""

import math
from functools import cache

import numpy as np
import torch

from mptq_export.calibrate.statistics import Range
from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.deferred import Value, parts_of
from mptq_export.capture.function_names import Function
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.simulation.fake_quantize import fake_quantize, steps
from mptq_export.recipe.schema import ActivationQuant

#: Shares of the full range that are tried.
_SHARES = tuple(round(1.0 - 0.04 * n, 2) for n in range(21))

#: Shares of the full range where few bits want another one than outliers do: down to a tenth, each a 20th less.
FINE_SHARES = tuple(float(np.float32(1.05**-n)) for n in range(48))

#: Lower ends that are tried for the argument of an activation, which is almost zero below them.
_FLOORS = (-2.0, -2.5, -3.0, -3.5, -4.0, -5.0)

_BY_RANGE = "min/max of the calibration images"
BY_ATTENTION = "range with the smallest error of the attention"
_BY_ERROR = "range with the smallest output error"


def range_of(value: Value) -> Range:
    """Smallest and largest element."""
    seen = Range()
    for part in parts_of(value):
        seen.update(part)
    return seen


def range_and_lowest_maximum(value: Value) -> tuple[Range, float]:
    """The same, and the smallest maximum of a row."""
    seen, lowest = Range(), math.inf
    for part in parts_of(value):
        seen.update(part)
        lowest = min(lowest, float(part.amax(-1).min()))
    return seen, lowest


def affine(seen: Range, bits: int, reason: str = _BY_RANGE) -> ActivationQuant:
    """Quantizer with a zero point; 0 is always representable."""
    high = 2**bits - 1
    low_value, high_value = min(seen.low, 0.0), max(seen.high, 0.0)
    scale = _float32((high_value - low_value) / high) or 1.0
    return ActivationQuant(scale, round(-low_value / scale), 0, high, bits, reason)


def symmetric(magnitude: float, bits: int, reason: str = _BY_RANGE) -> ActivationQuant:
    """Quantizer around the middle code, so that q, k and v can share one integer Gemm."""
    middle = 2 ** (bits - 1)
    scale = _float32(magnitude / (middle - 1)) or 1.0
    return ActivationQuant(scale, middle, 0, 2**bits - 1, bits, reason)


def best_affine(sample: Sample, seen: Range, bits: int, weight: torch.Tensor) -> ActivationQuant:
    """The range with the smallest output error: both ends moved to the middle, or the upper end of a long tail alone.

    Args:
        sample: rows of the value.
        seen: range of all of the value.
        bits: 2 to 8.
        weight: [N, K], of what reads the value.
    """
    middle, half = (seen.low + seen.high) / 2, (seen.high - seen.low) / 2
    ranges = [Range(middle - share * half, middle + share * half) for share in _SHARES]
    if seen.low > -0.5 * seen.high:
        ranges = [Range(seen.low, seen.high * share) for share in _SHARES]
    candidates = [affine(r, bits, _BY_ERROR) for r in ranges]
    error = sample.output_error(weight)

    @cache
    def measured(index: int) -> float:
        return error(fake_quantize(sample.rows, candidates[index]) - sample.rows)

    # Errors fall, then rise: the best of every third one lies beside the best.
    about = min(range(0, len(candidates), 3), key=measured)
    return candidates[min(range(max(about - 2, 0), min(about + 3, len(candidates))), key=measured)]


def best_symmetric(seen: Histogram, bits: int) -> ActivationQuant:
    """The symmetric range with the smallest error."""
    largest = max(-seen.low, seen.high)
    return _best(seen, [symmetric(largest * share, bits, _BY_ERROR) for share in _SHARES])


def centred_step(seen: Histogram, bits: int) -> float:
    """The step of an even number of levels around 0, `(k + 1/2) step`, with the smallest error."""
    largest, half = max(-seen.low, seen.high), 2 ** (bits - 1)

    def error(step: float) -> float:
        levels = np.clip(np.floor(seen.values / step), -half, half - 1) + 0.5
        return float(((levels * step - seen.values) ** 2 * seen.counts).sum())

    steps = [max(largest * share / half, 1e-12) for share in FINE_SHARES]
    best: float = min(steps, key=error)
    return best


def best_argument(sample: Sample, seen: Range, columns: torch.Tensor, function: Function) -> ActivationQuant:
    """The 8-bit range of an activation's argument with the smallest error of its result; only its lower end is cut.

    Args:
        sample: rows of the arguments.
        seen: range of all arguments.
        columns: float64 [K], sum of the squares of the weights that read each result.
        function: the name of the activation function.
    """
    floors = [seen.low, *(floor for floor in _FLOORS if floor > seen.low)]
    candidates = [affine(Range(floor, max(seen.high, 0.0)), 8, _BY_ERROR) for floor in floors]
    compute = FUNCTIONS[function].compute
    exact = compute(sample.rows.double())

    def error(quant: ActivationQuant) -> float:
        whole = torch.arange(quant.low - quant.zero_point, quant.high - quant.zero_point + 1).to(sample.rows)
        results = compute((whole * quant.scale).double())  # of every code: the function is the slow part
        places = steps(sample.rows, quant).sub_(whole[0]).int().flatten()
        gap = results.index_select(0, places).reshape(exact.shape).sub_(exact)
        return float(gap.square_().mul_(columns).sum(-1) @ sample.counts)

    return min(candidates, key=error)


def _best(seen: Histogram, candidates: list[ActivationQuant]) -> ActivationQuant:
    def error(quant: ActivationQuant) -> float:
        codes = np.clip(np.rint(seen.values / quant.scale) + quant.zero_point, quant.low, quant.high)
        return float((((codes - quant.zero_point) * quant.scale - seen.values) ** 2 * seen.counts).sum())

    return min(candidates, key=error)


def _float32(value: float) -> float:
    return float(np.float32(value))
