"""Quantizers of the portable form: codes of a type that the target has, by the range or by the error."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from mptq_export.calibrate.statistics import Range
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import LayerNorm
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.targets.portable import PortableForm

#: Shares of the full range that are tried.
_SHARES = tuple(round(1.0 - 0.03 * n, 2) for n in range(24))

#: How much more than its square an error counts that cuts a value: rare large values are what attention goes by, and
#: errors of a cut all have one sign.
_CUT = 8.0

_BY_RANGE = "min/max of the calibration images"
_BY_ERROR = "range with the smallest error"
_BY_RESULT = "range with the smallest error of what is computed from it"

RowFunction = Callable[[torch.Tensor], torch.Tensor]
"""A function of the rows of a value, in their type."""


def of_range(form: PortableForm, seen: Range, bits: int, reason: str = _BY_RANGE) -> ActivationQuant:
    """The quantizer of a range; 0 is always a level.

    Args:
        form: says whether codes are signed, and around which code they lie.
        seen: smallest and largest value.
        bits: 8 or 16.
        reason: why this range.
    """
    lowest = -(2 ** (bits - 1)) if form.signed else 0
    highest = lowest + 2**bits - 1
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if form.symmetric:
        middle = lowest + 2 ** (bits - 1)
        scale = _float32(max(-low, high) / (highest - middle)) or 1.0
        return ActivationQuant(scale, middle, lowest, highest, bits, reason)
    scale = _float32((high - low) / (highest - lowest)) or 1.0
    zero = lowest + round(-low / scale)
    if form.off_middle and zero == lowest + 2 ** (bits - 1):
        zero += 1
        scale = _float32(max(-low / (zero - lowest), high / (highest - zero)))
    return ActivationQuant(scale, zero, lowest, highest, bits, reason)


def of_attention(form: PortableForm, bits: int) -> ActivationQuant:
    """The quantizer of a softmax: its results lie between 0 and 1, whatever the scores are."""
    signed = form.attention != "unsigned"
    low = -(2 ** (bits - 1)) if signed else 0
    high = low + 2**bits - 1
    zero = 0 if form.attention == "positive" else low
    steps = high - zero + (0 if form.attention_one else 1)
    return ActivationQuant(_float32(1.0 / steps), zero, low, high, bits, "a softmax gives 0 to 1")


def of_parameter(form: PortableForm, value: torch.Tensor, bits: int) -> ActivationQuant:
    """The quantizer of a constant of a layer: by its range."""
    low, high = torch.aminmax(value)
    return of_range(form, Range(float(low), float(high)), bits)


def gain_and_offset(node: Node) -> tuple[torch.Tensor, torch.Tensor]:
    """Both of a layer norm, float32 [D]: ones and zeros of one that has none, as runtimes want them."""
    if node.attributes(LayerNorm).plain:
        width = node.shape.dims[-1]
        return torch.ones(width), torch.zeros(width)
    return node.params["weight"].float(), node.params["bias"].float()


def of_gain(form: PortableForm, value: torch.Tensor) -> ActivationQuant:
    """The quantizer of a norm's gain, of 8 bits: gains that are all alike are exact."""
    low, high = torch.aminmax(value)
    return of_range(form, Range(float(low), float(high)), 8)


def best_by_histogram(form: PortableForm, seen: Histogram, bits: int) -> ActivationQuant:
    """The range with the smallest squared error of the values themselves."""
    return min(_candidates(form, Range(seen.low, seen.high), bits), key=lambda quant: _squared_error(seen, quant))


def best_by_output(form: PortableForm, sample: Sample, seen: Range, bits: int, weight: torch.Tensor) -> ActivationQuant:
    """The range with the smallest error of what the layers that read the value give.

    Args:
        form: the form of the file.
        sample: rows of the value.
        seen: range of all of the value.
        bits: 8 or 16.
        weight: [N, K], of what reads the value.
    """
    error = sample.output_error(weight)
    candidates = _candidates(form, seen, bits)
    return _lowest(candidates, lambda quant: error(fake_quantize(sample.rows, quant) - sample.rows))


def best_by_result(
    form: PortableForm, sample: Sample, seen: Range, bits: int, *, function: RowFunction, columns: torch.Tensor
) -> ActivationQuant:
    """The range with the smallest error of a function that alone reads the value: what it does not see is cut.

    Args:
        form: the form of the file.
        sample: rows of the value.
        seen: range of all of the value.
        bits: 8 or 16.
        function: of rows, such as a softmax or GELU.
        columns: float64 [K] or [1], how much every column of its result counts.
    """
    exact = function(sample.rows.double())

    def error(quant: ActivationQuant) -> float:
        gap = function(fake_quantize(sample.rows, quant).double()) - exact
        return float((gap.square() * columns).sum(-1) @ sample.counts)

    if form.symmetric:
        return _lowest(_candidates(form, seen, bits), error)
    lower = [of_range(form, Range(seen.low * share, seen.high), bits, _BY_RESULT) for share in _SHARES]
    low = seen.low * _SHARES[lower.index(_lowest(lower, error))]
    return _lowest([of_range(form, Range(low, seen.high * share), bits, _BY_RESULT) for share in _SHARES], error)


def best_attention(form: PortableForm, seen: Histogram, bits: int) -> ActivationQuant:
    """The quantizer of a softmax with the smallest squared error: rows that reach 1 are few."""
    tops = [1.0, *(seen.high * share for share in _SHARES)]
    candidates = [of_attention(form, bits)]
    for top in tops[1:]:
        whole = candidates[0]
        candidates.append(replace(whole, scale=_float32(whole.scale * top), reason=_BY_ERROR))
    return min(candidates, key=lambda quant: _squared_error(seen, quant))


def _lowest(candidates: list[ActivationQuant], error: Callable[[ActivationQuant], float]) -> ActivationQuant:
    """The one with the smallest error, which falls, then rises: the best of every third one, and those beside it."""

    @cache
    def measured(index: int) -> float:
        return error(candidates[index])

    about = min(range(0, len(candidates), 3), key=measured)
    return candidates[min(range(max(about - 2, 0), min(about + 3, len(candidates))), key=measured)]


def _squared_error(seen: Histogram, quant: ActivationQuant) -> float:
    wanted = np.rint(seen.values / quant.scale) + quant.zero_point
    codes = np.clip(wanted, quant.low, quant.high)
    counts = np.where(codes == wanted, seen.counts, _CUT * seen.counts)
    return float((((codes - quant.zero_point) * quant.scale - seen.values) ** 2 * counts).sum())


def _candidates(form: PortableForm, seen: Range, bits: int) -> list[ActivationQuant]:
    """Both ends moved to 0 by the same share; the upper end alone where nearly all lies above 0."""
    lower = [1.0] * len(_SHARES) if seen.low > -0.5 * seen.high and not form.symmetric else list(_SHARES)
    return [
        of_range(form, Range(seen.low * below, seen.high * above), bits, _BY_ERROR)
        for below, above in zip(lower, _SHARES, strict=True)
    ]


def _float32(value: float) -> float:
    return float(np.float32(value))
