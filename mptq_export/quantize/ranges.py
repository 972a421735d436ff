"""Uniform activation quantizers: by the range of the calibration images, or by the error of what reads them."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from mptq_export.calibrate.statistics import Range
from mptq_export.quantize.fake import fake_quantize
from mptq_export.recipe.schema import ActivationQuant

#: Parts of the full range that are tried.
_PARTS = tuple(round(1.0 - 0.04 * n, 2) for n in range(21))

#: Lower ends that are tried for the argument of a GELU, which is almost zero below them.
_GELU_FLOORS = (-2.0, -2.5, -3.0, -3.5, -4.0, -5.0)

_BY_RANGE = "min/max of the calibration images"
_BY_ERROR = "range with the smallest output error"

Error = Callable[[torch.Tensor], float]
"""Error of what is read, given the error of an operand (float32 [rows, channels])."""


def observed(value: torch.Tensor) -> Range:
    """Smallest and largest element."""
    low, high = torch.aminmax(value)
    return Range(float(low), float(high))


def affine(seen: Range, bits: int, reason: str = _BY_RANGE) -> ActivationQuant:
    """Quantizer with a zero point; 0 is always representable."""
    high = 2**bits - 1
    low_value, high_value = min(seen.low, 0.0), max(seen.high, 0.0)
    scale = _float32((high_value - low_value) / high) or 1.0
    return ActivationQuant(scale, round(-low_value / scale), 0, high, bits, reason)


def symmetric(magnitude: float, bits: int, reason: str = _BY_RANGE) -> ActivationQuant:
    """Quantizer around the middle code, so that q, k and v can share one integer Gemm."""
    middle = 2 ** (bits - 1)
    scale = _float32(magnitude / (middle - 1 if bits > 1 else 1)) or 1.0
    return ActivationQuant(scale, middle, 0, 2**bits - 1, bits, reason)


def best_affine(sample: torch.Tensor, bits: int, error: Error) -> ActivationQuant:
    """The range with the smallest error: both ends moved towards the middle, or the upper end alone.

    Args:
        sample: float32 [rows, channels].
        bits: 2 to 8.
        error: of what reads the sample.
    """
    seen = observed(sample)
    middle, half = (seen.low + seen.high) / 2, (seen.high - seen.low) / 2
    ranges = [Range(middle - part * half, middle + part * half) for part in _PARTS]
    if seen.low > -0.5 * seen.high:  # a long tail on one side
        ranges = [Range(seen.low, seen.high * part) for part in _PARTS]
    return _best(sample, [affine(r, bits, _BY_ERROR) for r in ranges], error)


def best_symmetric(sample: torch.Tensor, bits: int) -> ActivationQuant:
    """The symmetric range with the smallest squared error."""
    largest = float(sample.abs().max())
    candidates = [symmetric(largest * part, bits, _BY_ERROR) for part in _PARTS]
    return _best(sample, candidates, lambda gap: float(gap.square().sum()))


def best_gelu_input(sample: torch.Tensor, importance: torch.Tensor, approximate: str) -> ActivationQuant:
    """The 8-bit range of a GELU's argument with the smallest error of its result.

    Args:
        sample: float32 [rows, K], arguments.
        importance: float32 [K], sum of the squares of the weights that read each result.
        approximate: `none` or `tanh`.
    """
    seen = observed(sample)
    floors = [seen.low, *(floor for floor in _GELU_FLOORS if floor > seen.low)]
    candidates = [
        affine(Range(floor, seen.high * part), 8, _BY_ERROR)
        for floor in floors
        for part in _PARTS[:10:3]
        if seen.high * part > floor
    ]
    exact = F.gelu(sample, approximate=approximate)

    def error(quant: ActivationQuant) -> float:
        gap = F.gelu(fake_quantize(sample, quant), approximate=approximate) - exact
        return float((gap.square() * importance).sum())

    return min(candidates, key=error)


def output_error(weight: torch.Tensor) -> Error:
    """Squared error of `x W^T`, given the error of x."""
    width, keys = weight.shape
    if keys > width:
        return lambda gap: float((gap @ weight.T).square().sum())
    gram = weight.T @ weight
    return lambda gap: float(((gap @ gram) * gap).sum())


def _best(sample: torch.Tensor, candidates: list[ActivationQuant], error: Error) -> ActivationQuant:
    return min(candidates, key=lambda quant: error(sample - fake_quantize(sample, quant)))


def _float32(value: float) -> float:
    return float(np.float32(value))
