"""Per-channel symmetric weight codes that no integer kernel can saturate, and their scales.

Scales have few mantissa bits: fitted weights differ in their last bits from CPU to CPU, and no such difference shall
reach the file.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.errors import MptqError
from mptq_export.quantize.code_range import CodeRange
from mptq_export.quantize.hessian import Hessian
from mptq_export.quantize.rounding import ROWS, descended, propagated

#: Most steps of the accumulator that a bias may take: half of int32, the other half is left to the products.
BIAS_STEPS = 2.0**30

#: Last bits of a float32 scale that are zero: rounding up to them adds at most 5e-4 of it.
_ROUNDED_BITS = 12

#: Parts of the min/max scale that a search tries; at 8 bits only the first few.
_PARTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)


def quantize_weight(
    weight: torch.Tensor,
    bits: int,
    hessian: Hessian | None = None,
    *,
    least: torch.Tensor | None = None,
    search: bool = False,
    compensate: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a weight matrix to codes.

    Args:
        weight: [N, K].
        bits: 2 to 8.
        hessian: of what the layer reads; `search` and `compensate` need it.
        least: smallest scales, [N]: those with which the biases stay below `BIAS_STEPS`.
        search: choose every channel's scale by the error of its output instead of min/max.
        compensate: move rounding errors to other columns instead of rounding to nearest.

    Returns:
        Codes, whole numbers as float32 [N, K], and scales, float32 [N]; a channel of zeros gets scale 1.
    """
    if hessian is None and (search or compensate):
        raise MptqError("weights can be searched or compensated only with the second moments of their inputs")
    span = CodeRange.of(bits)
    parts = _PARTS[: 4 if bits == 8 else None] if search else _PARTS[:1]
    widest = _widest(weight, span)
    least = torch.zeros_like(widest) if least is None else least
    tried = [_positive(torch.maximum(widest * part, least)) for part in parts]
    together = max(1, ROWS // len(weight))  # whole matrices
    found = [
        _rounded(weight, torch.stack(tried[i : i + together]), span, hessian, compensate=compensate)
        for i in range(0, len(tried), together)
    ]
    codes, scale, error = found[0]
    for other_codes, other_scale, other_error in found[1:]:
        better = other_error < error
        codes = torch.where(better[:, None], other_codes, codes)
        scale, error = torch.where(better, other_scale, scale), torch.where(better, other_error, error)
    if compensate and hessian is not None:
        codes = descended(codes, weight, scale, hessian, span)
    return codes, scale


def _rounded(
    weight: torch.Tensor, scales: torch.Tensor, span: CodeRange, hessian: Hessian | None, *, compensate: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes [N, K], scale [N] and error [N] of every channel at the best of its scales [parts, N]."""
    rows, flat = weight.repeat(len(scales), 1), scales.flatten()
    codes = propagated(rows, flat, hessian, span) if compensate and hessian is not None else _nearest(rows, flat, span)
    if hessian is None:
        return codes, flat, torch.zeros_like(flat)
    error = hessian.error(rows.double() - codes * flat.double()[:, None]).reshape(scales.shape)
    best = error.argmin(0) * len(weight) + torch.arange(len(weight), device=weight.device)
    return codes[best], flat[best], error.amin(0)


def dequantized(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """`codes * scale` of every channel, float32 [N, K]."""
    return codes.float() * scale[:, None]


def pair_sums(weight: NDArray[np.generic]) -> NDArray[np.float64]:
    """`|w[2i]| + |w[2i+1]|` along K: [N, ceil(K / 2)]."""
    magnitude = np.abs(weight.astype(np.float64))
    padded: NDArray[np.float64] = np.pad(magnitude, ((0, 0), (0, weight.shape[1] % 2)))
    return np.asarray(padded.reshape(len(weight), -1, 2).sum(2))


def _widest(weight: torch.Tensor, span: CodeRange) -> torch.Tensor:
    """The scales of min/max."""
    scale = weight.abs().amax(1) / span.high
    if span.pair_limit is not None:
        scale = torch.maximum(scale, _pairs(weight.abs()).sum(2).amax(1) / span.pair_limit)
    return scale


def _pairs(weight: torch.Tensor) -> torch.Tensor:
    """Neighbours along K: [N, ceil(K / 2), 2]."""
    return torch.nn.functional.pad(weight, (0, weight.shape[1] % 2)).reshape(len(weight), -1, 2)


def _nearest(weight: torch.Tensor, scale: torch.Tensor, span: CodeRange) -> torch.Tensor:
    codes = (weight / scale[:, None]).round_().clamp_(span.low, span.high).float()
    if span.pair_limit is None:
        return codes
    # Rounding can lift a pair one above the limit, a scale below min/max further: take half off each of the two.
    pairs = _pairs(codes)
    half = (pairs.abs().sum(2) - span.pair_limit).clamp_min_(0) / 2
    larger = pairs[..., 1].abs() > pairs[..., 0].abs()
    for column, chosen in ((0, ~larger), (1, larger)):
        pairs[..., column] -= pairs[..., column].sign() * torch.where(chosen, half.ceil(), half.floor())
    return pairs.reshape(len(codes), -1)[:, : weight.shape[1]].contiguous()


def _positive(scale: torch.Tensor) -> torch.Tensor:
    """Scales as short float32; channels that are all zero (or too small for float32) get 1."""
    unit = 1 << _ROUNDED_BITS
    scale = ((scale.float().view(torch.int32) + unit - 1) & -unit).view(torch.float32)
    return torch.where(scale > torch.finfo(torch.float32).tiny * 2**24, scale, torch.ones_like(scale))
