"""Per-channel symmetric weight codes that no integer kernel can saturate, and their scales.

Scales have few mantissa bits: fitted weights differ in their last bits from CPU to CPU, and no such difference shall
reach the file.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.gptq import ROWS, descend_coordinates, round_gptq
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.recipe.schema import CodeForm
from mptq_export.support.errors import MptqError

#: Most steps of the accumulator that a bias may take: half of int32, the other half is left to the products.
BIAS_STEPS = 2.0**30

#: Last bits of a float32 scale that are zero: rounding up to them adds at most 5e-4 of it.
_ROUNDED_BITS = 12

#: Stands for the error of weights that floats cannot hold.
_LARGEST = torch.finfo(torch.float64).max

#: Shares of the min/max scale that a search tries.
_SHARES = tuple(round(1.0 - 0.05 * n, 2) for n in range(16))


def quantize_weight(
    weight: torch.Tensor,
    bits: int,
    hessian: Hessian | None = None,
    *,
    smallest_scale: torch.Tensor | None = None,
    search_scales: bool = False,
    gptq: bool = False,
    form: CodeForm = "pair_safe",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a weight matrix to codes.

    Args:
        weight: [N, K].
        bits: 2 to 8.
        hessian: of what the layer reads; `search_scales` and `gptq` need it.
        smallest_scale: no scale is smaller, [N]: those with which the biases stay below `BIAS_STEPS`.
        search_scales: choose the scale per channel by the error of its output instead of min/max.
        gptq: move rounding errors to other columns instead of rounding to nearest.
        form: which codes of 8 bits there may be.

    Returns:
        Codes, whole numbers as float32 [N, K], and scales, float32 [N]; a channel of zeros gets scale 1.
    """
    if hessian is None and (search_scales or gptq):
        raise MptqError("weights can be searched or compensated only with the second moments of their inputs")
    code_range = CodeRange.of(bits, form)
    widest = _minmax_scale(weight, code_range)
    smallest = torch.zeros_like(widest) if smallest_scale is None else smallest_scale
    shares = _SHARES if search_scales else _SHARES[:1]
    scales = torch.stack([short_scales(torch.maximum(widest * share, smallest)) for share in shares])
    moving = hessian if gptq else None
    if hessian is None or not search_scales:
        codes, scale = _round(weight, scales[0], code_range, moving), scales[0]
    else:
        codes, scale = _search_scales(weight, scales, code_range, hessian, moving)
    if moving is not None:
        codes = descend_coordinates(codes, weight, scale, moving, code_range)
    return codes, scale


def _search_scales(
    weight: torch.Tensor, scales: torch.Tensor, code_range: CodeRange, hessian: Hessian, moving: Hessian | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [N, K] and scale [N] of every channel at the best of its scales [shares, N].

    Rounding all shares with moved errors would take most of the time of an export. A channel begins where nearest codes
    are best, every column's error counting by itself, and at the shares beside; it goes on until both neighbours of its
    best share are known.
    """
    shares, channels = (torch.arange(size, device=weight.device) for size in scales.shape)
    importance = hessian.matrix.diagonal() if moving is None else hessian.conditional
    gaps = (weight - _nearest(weight, scale, code_range) * scale[:, None] for scale in scales)
    best = torch.stack([gap.double().square() @ importance for gap in gaps]).argmin(0)
    wanted = (shares[:, None] - best).abs() <= 1
    if moving is None:  # so cheap that no channel has to be worse than with min/max
        wanted[0] = True
    errors = torch.full(scales.shape, torch.inf, dtype=torch.float64, device=weight.device)
    codes = torch.empty(weight.shape, dtype=torch.float32, device=weight.device)
    while wanted.any():
        share, channel = wanted.nonzero(as_tuple=True)
        found = []
        for s, c in zip(torch.split(share, ROWS), torch.split(channel, ROWS), strict=True):
            rows, scale = weight[c], scales[s, c]
            found.append(_round(rows, scale, code_range, moving))
            errors[s, c] = hessian.error(rows.double() - found[-1] * scale.double()[:, None]).nan_to_num_(nan=_LARGEST)
        best = errors.argmin(0)
        place = torch.full(scales.shape, -1, device=weight.device)
        place[share, channel] = torch.arange(len(share), device=weight.device)
        new = place[best, channels] >= 0
        codes[new] = torch.cat(found)[place[best, channels][new]]
        tried = errors.isfinite()
        between = tried[(best - 1).clamp_min(0), channels] & tried[(best + 1).clamp_max(len(shares) - 1), channels]
        wanted = ((shares[:, None] - best).abs() <= 2) & ~tried & ~between
    return codes, scales[best, channels]


def _round(weight: torch.Tensor, scale: torch.Tensor, code_range: CodeRange, moving: Hessian | None) -> torch.Tensor:
    """Codes [N, K]: errors moved to other columns, or everywhere the nearest ones."""
    return _nearest(weight, scale, code_range) if moving is None else round_gptq(weight, scale, moving, code_range)


def dequantize(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """`codes * scale` per channel, float32 [N, K]."""
    return codes.float() * scale[:, None]


def pair_sums(weight: NDArray[np.generic]) -> NDArray[np.float64]:
    """`|w[2i]| + |w[2i+1]|` along K: [N, ceil(K / 2)]."""
    magnitude = np.abs(weight.astype(np.float64))
    padded: NDArray[np.float64] = np.pad(magnitude, ((0, 0), (0, weight.shape[1] % 2)))
    return np.asarray(padded.reshape(len(weight), -1, 2).sum(2))


def turned(weight: NDArray[np.generic], kernel: tuple[int, int]) -> NDArray[np.generic]:
    """A layer over windows [N, kh * kw * C] with the positions of a channel beside each other: [N, C * kh * kw]."""
    rows, positions = len(weight), kernel[0] * kernel[1]
    return weight.reshape(rows, positions, -1).swapaxes(1, 2).reshape(rows, -1)


def _minmax_scale(weight: torch.Tensor, code_range: CodeRange) -> torch.Tensor:
    """The scales of min/max, [N]."""
    scale = weight.abs().amax(1) / code_range.high
    if code_range.pair_limit is not None:
        scale = torch.maximum(scale, _pairs(weight.abs()).sum(2).amax(1) / code_range.pair_limit)
    return scale


def _pairs(weight: torch.Tensor) -> torch.Tensor:
    """Neighbours along K: [N, ceil(K / 2), 2]."""
    return torch.nn.functional.pad(weight, (0, weight.shape[1] % 2)).reshape(len(weight), -1, 2)


def _nearest(weight: torch.Tensor, scale: torch.Tensor, code_range: CodeRange) -> torch.Tensor:
    codes = (weight / scale[:, None]).round_().clamp_(code_range.low, code_range.high).float()
    if code_range.pair_limit is None:
        return codes
    # Rounding can lift a pair one above the limit, a scale below min/max further: take half off each of the two.
    pairs = _pairs(codes)
    half = (pairs.abs().sum(2) - code_range.pair_limit).clamp_min_(0) / 2
    larger = pairs[..., 1].abs() > pairs[..., 0].abs()
    for column, chosen in ((0, ~larger), (1, larger)):
        pairs[..., column] -= pairs[..., column].sign() * torch.where(chosen, half.ceil(), half.floor())
    return pairs.reshape(len(codes), -1)[:, : weight.shape[1]].contiguous()


def short_scales(scale: torch.Tensor) -> torch.Tensor:
    """Scales as short float32; channels that are all zero (or too small for float32) get 1."""
    unit = 1 << _ROUNDED_BITS
    scale = ((scale.float().view(torch.int32) + unit - 1) & -unit).view(torch.float32)
    return torch.where(scale > torch.finfo(torch.float32).tiny * 2**24, scale, torch.ones_like(scale))
