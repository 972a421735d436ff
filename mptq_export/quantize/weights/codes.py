"""Per-channel symmetric weight codes that no integer kernel can saturate, and their scales.

Scales have few mantissa bits: fitted weights differ in their last bits from CPU to CPU, and no such difference shall
reach the file.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.gptq import ROWS, descended, propagated
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.support.errors import MptqError

#: Most steps of the accumulator that a bias may take: half of int32, the other half is left to the products.
BIAS_STEPS = 2.0**30

#: Last bits of a float32 scale that are zero: rounding up to them adds at most 5e-4 of it.
_ROUNDED_BITS = 12

#: Stands for the error of weights that floats cannot hold.
_LARGEST = torch.finfo(torch.float64).max

#: Parts of the min/max scale that a search tries.
_PARTS = tuple(round(1.0 - 0.05 * n, 2) for n in range(16))


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
    widest = _widest(weight, span)
    least = torch.zeros_like(widest) if least is None else least
    scales = torch.stack(
        [_positive(torch.maximum(widest * part, least)) for part in (_PARTS if search else _PARTS[:1])]
    )
    moving = hessian if compensate else None
    if hessian is None or not search:
        codes, scale = _codes(weight, scales[0], span, moving), scales[0]
    else:
        codes, scale = _searched(weight, scales, span, hessian, moving)
    if moving is not None:
        codes = descended(codes, weight, scale, moving, span)
    return codes, scale


def _searched(
    weight: torch.Tensor, scales: torch.Tensor, span: CodeRange, hessian: Hessian, moving: Hessian | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [N, K] and scale [N] of every channel at the best of its scales [parts, N].

    Rounding all parts with moved errors would take most of the time of an export. A channel begins where nearest codes
    are best, every column's error counting by itself, and at the parts beside; it goes on until both neighbours of its
    best part are known.
    """
    parts, channels = (torch.arange(size, device=weight.device) for size in scales.shape)
    importance = hessian.matrix.diagonal() if moving is None else hessian.conditional
    gaps = (weight - _nearest(weight, scale, span) * scale[:, None] for scale in scales)
    best = torch.stack([gap.double().square() @ importance for gap in gaps]).argmin(0)
    wanted = (parts[:, None] - best).abs() <= 1
    if moving is None:  # so cheap that no channel has to be worse than with min/max
        wanted[0] = True
    errors = torch.full(scales.shape, torch.inf, dtype=torch.float64, device=weight.device)
    codes = torch.empty(weight.shape, dtype=torch.float32, device=weight.device)
    while wanted.any():
        part, channel = wanted.nonzero(as_tuple=True)
        found = []
        for p, c in zip(torch.split(part, ROWS), torch.split(channel, ROWS), strict=True):
            rows, scale = weight[c], scales[p, c]
            found.append(_codes(rows, scale, span, moving))
            errors[p, c] = hessian.error(rows.double() - found[-1] * scale.double()[:, None]).nan_to_num_(nan=_LARGEST)
        best = errors.argmin(0)
        place = torch.full(scales.shape, -1, device=weight.device)
        place[part, channel] = torch.arange(len(part), device=weight.device)
        new = place[best, channels] >= 0
        codes[new] = torch.cat(found)[place[best, channels][new]]
        tried = errors.isfinite()
        between = tried[(best - 1).clamp_min(0), channels] & tried[(best + 1).clamp_max(len(parts) - 1), channels]
        wanted = ((parts[:, None] - best).abs() <= 2) & ~tried & ~between
    return codes, scales[best, channels]


def _codes(weight: torch.Tensor, scale: torch.Tensor, span: CodeRange, moving: Hessian | None) -> torch.Tensor:
    """Codes [N, K]: errors moved to other columns, or everywhere the nearest ones."""
    return _nearest(weight, scale, span) if moving is None else propagated(weight, scale, moving, span)


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
