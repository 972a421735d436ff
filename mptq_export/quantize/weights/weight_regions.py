"""OPT-m for weights: levels that are denser where weights are, and few outliers on a step `2 ** u` times larger.

Weights of a channel lie as a bell or a peak with long tails, and equal steps fit neither: a fine step cuts the tails, a
wide one wastes levels on them. So the `2 ** bits` levels of a layer, its core, are whole numbers that are close
together near 0 and further apart beyond (levels by density: Max 1960, Lloyd 1982). What still lies outside is an
outlier, a core level plus `payload << shift` (a core and outliers on a larger step: DASQ, CVPR 2026). All are whole
codes of one step, so the integer matmul is what it was. Levels cost nothing in the file, an outlier some bits.

An outlier is decided as its column is rounded, by what it saves of `(w - q s) H (w - q s)^T` while all columns behind
make up for errors. Its price is what as many bits would save elsewhere: an error falls by 4 with every bit.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from mptq_export.quantize.weights.gptq import ROWS, descend_coordinates, round_gptq
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.level_codes import LevelCodes
from mptq_export.quantize.weights.quantize_weight import short_scales
from mptq_export.recipe.schema import WeightRegions


def _mirrored(*levels: int) -> tuple[int, ...]:
    return (*(-level for level in reversed(levels)), *levels)


#: Cores by width: an even one with a 0, for weights with many zeros, then ones that are denser near 0.
CORES: dict[int, tuple[tuple[int, ...], ...]] = {
    2: (tuple(range(-2, 2)), _mirrored(1, 3), _mirrored(2, 7), _mirrored(1, 5)),
    3: (tuple(range(-4, 4)), _mirrored(1, 3, 5, 7), _mirrored(1, 3, 6, 10), _mirrored(1, 3, 7, 13)),
    4: (
        tuple(range(-8, 8)),
        _mirrored(1, 3, 5, 7, 9, 13, 17, 21),
        _mirrored(1, 3, 5, 7, 10, 13, 17, 22),
        _mirrored(1, 3, 5, 8, 11, 15, 20, 27),
    ),
}

#: Step of outliers, `2 ** shift`, by width: no more than most cores are wide, so that they leave no gap.
SHIFTS = {2: 3, 3: 4, 4: 5}

#: How much of the error that as many bits would save elsewhere an outlier has to save.
PRICE = 1.0

#: Bits in the file of an outlier (the distance to the one before, what it adds, gaps that are filled), and of all nodes
#: that add outliers.
_OUTLIER, _NODES = 13.0, 8200.0

#: Parts of the min/max scale that are tried.
_SHARES = tuple(0.9**n for n in range(18))

#: Most columns that estimates look at.
_COLUMNS = 192

#: Stands for the error of weights that floats cannot hold.
_LARGEST = torch.finfo(torch.float64).max


@dataclass(frozen=True)
class RoundedInRegions:
    """A weight as codes with regions.

    Attributes:
        codes: whole numbers as float32, [N, K].
        scale: float32 [N].
        regions: as the recipe has them.
        outliers: how many there are.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    regions: WeightRegions
    outliers: int

    @property
    def reason(self) -> str:
        """What a recipe says of it."""
        share = 100 * self.outliers / max(1, self.codes.numel())
        return f"levels by density, {share:.2f}% outliers" if self.outliers else "levels by density"


def quantize_in_regions(
    weight: torch.Tensor,
    bits: int,
    hessian: Hessian,
    *,
    smallest_scale: torch.Tensor | None = None,
    price: float = PRICE,
) -> RoundedInRegions:
    """Round a weight matrix to levels and outliers.

    Args:
        weight: [N, K].
        bits: of the core, one of `CORES`.
        hessian: of what the layer reads.
        smallest_scale: no scale is smaller, [N].
        price: of an outlier's bits, see `PRICE`; infinity for no outliers.
    """
    smallest = torch.zeros(len(weight), device=weight.device) if smallest_scale is None else smallest_scale
    candidate = min(_candidates(weight, bits, hessian, smallest, price), key=lambda each: each.cost)
    allowed = LevelCodes.of(candidate.regions, weight.device)
    scale, codes = _round_at_best_scales(weight, candidate, allowed, hessian)
    codes = descend_coordinates(codes, weight, scale, hessian, allowed.at(scale, candidate.price))
    count = int(_beyond(codes, candidate.regions).sum())
    regions = candidate.regions if count else replace(candidate.regions, shift=0)
    return RoundedInRegions(codes, scale, regions, count)


@dataclass(frozen=True)
class _Candidate:
    """One core, with outliers or without.

    Attributes:
        regions: levels and shift.
        scales: of all channels at all shares, float32 [shares, N].
        price: of an outlier, in the unit of errors.
        errors: as they are estimated, the price of outliers counted, float64 [shares, N]; infinite where they are not.
        nodes: what the nodes that add outliers cost, in the same unit.
    """

    regions: WeightRegions
    scales: torch.Tensor
    price: float
    errors: torch.Tensor
    nodes: float = 0.0

    @property
    def cost(self) -> float:
        """Error and bits of the whole layer, each channel at its best share."""
        return float(self.errors.amin(0).sum()) + self.nodes


def _candidates(
    weight: torch.Tensor, bits: int, hessian: Hessian, smallest: torch.Tensor, price: float
) -> Iterator[_Candidate]:
    """All cores without outliers, then with them; their price follows from the best without."""
    largest = weight.abs().amax(1).double()
    least = math.inf
    shifts = (0, SHIFTS[bits]) if math.isfinite(price) else (0,)
    for shift in shifts:
        bit = price * 2 * math.log(2) * least / max(1, weight.numel()) if shift else 0.0
        for levels in CORES[bits]:
            highest = max(map(abs, levels))
            scales = torch.stack([short_scales(torch.maximum(largest * (s / highest), smallest)) for s in _SHARES])
            regions = WeightRegions(levels, shift)
            errors = _estimate(weight, regions, scales, hessian, bit * _OUTLIER)
            found = _Candidate(regions, scales, bit * _OUTLIER, errors, bit * _NODES)
            if not shift:
                least = min(least, found.cost)
            yield found


def _estimate(
    weight: torch.Tensor, regions: WeightRegions, scales: torch.Tensor, hessian: Hessian, price: float
) -> torch.Tensor:
    """Errors with nearest codes, each column's counting as if the columns behind made up for it: float64 [shares, N].

    Every other share is left out, and so are columns where there are many.
    """
    keys = weight.shape[1]
    some = hessian.order[:: -(-keys // _COLUMNS)]
    part, importance = weight[:, some], hessian.conditional[some].float()
    codes = LevelCodes.of(regions, weight.device, torch.float32)
    found = torch.full(scales.shape, torch.inf, dtype=torch.float64, device=weight.device)
    for share in range(0, len(scales), 2):
        scale = scales[share]
        error = codes.at(scale, price).least_error((part / scale[:, None]).float(), importance)
        found[share] = error.mul_(scale.double().square()).mul_(keys / len(some)).nan_to_num_(nan=_LARGEST)
    return found


def _round_at_best_scales(
    weight: torch.Tensor, candidate: _Candidate, allowed: LevelCodes, hessian: Hessian
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale [N] and codes [N, K] of every channel, rounded with moved errors.

    A channel begins at the share that is estimated to be best and those beside it, and goes on until the shares beside
    its best are known.
    """
    shares, channels = candidate.scales.shape
    numbers = torch.arange(channels, device=weight.device)
    best, least = candidate.errors.argmin(0), torch.full_like(candidate.errors[0], torch.inf)
    codes = torch.empty(weight.shape, dtype=torch.float32, device=weight.device)
    tried = torch.zeros(candidate.scales.shape, dtype=torch.bool, device=weight.device)
    while True:
        wanted = torch.zeros_like(tried)
        for beside in (best, (best - 1).clamp_min(0), (best + 1).clamp_max(shares - 1)):
            wanted[beside, numbers] = True
        wanted &= ~tried
        if not wanted.any():
            return candidate.scales[best, numbers], codes
        tried |= wanted
        for share, channel in zip(*(torch.split(i, ROWS) for i in wanted.nonzero(as_tuple=True)), strict=True):
            rows, scale = weight[channel], candidate.scales[share, channel]
            found = round_gptq(rows, scale, hessian, allowed.at(scale, candidate.price))
            error = hessian.error(rows.double() - found.double() * scale.double()[:, None])
            error += candidate.price * _beyond(found, candidate.regions).sum(1)
            error.nan_to_num_(nan=_LARGEST)
            for one in share.unique().tolist():  # no channel twice
                its, new = channel[share == one], error[share == one]
                better = new < least[its]
                codes[its[better]], best[its[better]] = found[share == one][better], one
                least[its] = torch.minimum(new, least[its])


def _beyond(codes: torch.Tensor, regions: WeightRegions) -> torch.Tensor:
    """Which codes are outliers."""
    return (codes < regions.levels[0]) | (codes > regions.levels[-1])
