"""Second moments of what a layer reads and of what it lacks, and the weights that they ask for.

`d = y - W x - b` is what the quantized inputs x leave to be corrected towards the target y. The correction
V minimises `E |d - V x|^2 + r |V|^2` (ridge regression; ERQ, arXiv 2407.06794, does so for the quantization error
of x alone). Its strength r is the one that predicts best on the half of the images that was not fitted.
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from mptq_export.quantize.hessian import Hessian

#: Ridge strengths that are tried, as parts of the mean diagonal of H.
RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)

#: Part of the mean square that is added to variances: what sums leave of a constant may be negative.
_ROUNDING = 1e-5

#: Rows that are copied to float64 and multiplied at once.
_CHUNK = 4096


@dataclass(frozen=True)
class _Sums:
    """Weighted sums over rows: 1, x, d, x x^T and d x^T; float64."""

    rows: int
    weight: float
    x: torch.Tensor
    d: torch.Tensor
    xx: torch.Tensor
    dx: torch.Tensor

    def __add__(self, other: "_Sums") -> "_Sums":
        rows, weight = self.rows + other.rows, self.weight + other.weight
        return _Sums(rows, weight, self.x + other.x, self.d + other.d, self.xx + other.xx, self.dx + other.dx)

    def centred(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Covariance of x, [K, K], and of d with x, [N, K]."""
        x, d = self.x / self.weight, self.d / self.weight
        covariance = self.xx / self.weight - x[:, None] * x
        covariance.diagonal().add_(_ROUNDING * self.xx.diagonal().mean() / self.weight)
        return covariance, self.dx / self.weight - d[:, None] * x


@dataclass(frozen=True)
class Moments:
    """Moments of one layer.

    Attributes:
        halves: sums over the even and over the odd images.
        weight: W, float64 [N, K].
        bias: b, float64 [N].
    """

    halves: tuple[_Sums, _Sums]
    weight: torch.Tensor
    bias: torch.Tensor

    @staticmethod
    def of(
        x: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        images: int,
        importance: torch.Tensor | None = None,
    ) -> "Moments":
        """Measure.

        Args:
            x: [rows, K], what the layer reads, image by image.
            target: [rows, N], what it should give.
            weight: [N, K].
            bias: [N].
            images: number of images in the rows.
            importance: [rows], how much every row counts; alike by default.
        """
        weight, bias = weight.double(), bias.double()
        importance = x.new_ones(len(x), dtype=torch.float64) if importance is None else importance.double()
        each = max(1, len(x) // images)
        odd = torch.arange(len(x), device=x.device).div(each, rounding_mode="floor") % 2
        halves = ((odd == side).nonzero()[:, 0] for side in (0, 1))
        first, second = (_sums(x, target, weight, bias, importance, half) for half in halves)
        return Moments((first, second), weight, bias)

    @cached_property
    def _all(self) -> _Sums:
        return self.halves[0] + self.halves[1]

    def hessian(self, *, centred: bool) -> Hessian:
        """Of E[x x^T] or the covariance of x, drawn to its diagonal where there are few rows."""
        total = self._all
        full = total.centred()[0] if centred else total.xx / total.weight
        share = len(full) / (len(full) + total.rows)
        return Hessian((1 - share) * full + share * torch.diag(full.diagonal()))

    def corrected(self) -> torch.Tensor:
        """The weight that fits the target best, float64 [N, K]; the weight itself where no correction generalises."""
        if not self.halves[1].rows:  # one image: nothing to hold back
            return self.weight
        first, second = (half.centred() for half in self.halves)
        gains = {
            ridge: sum(_gain(_fit(*fit, ridge), *held) for fit, held in ((first, second), (second, first)))
            for ridge in RIDGES
        }
        best = max(RIDGES, key=lambda ridge: gains[ridge])
        if not gains[best] > 0:
            return self.weight
        return self.weight + _fit(*self._all.centred(), best)

    def bias_for(self, weight: torch.Tensor) -> torch.Tensor:
        """The bias with which `weight` gives the mean of the target, float64 [N]."""
        total = self._all
        missing = (self.weight - weight.double()) @ total.x + total.d
        return self.bias + missing / total.weight


def _sums(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    importance: torch.Tensor,
    chosen: torch.Tensor,
) -> _Sums:
    """Sums over the chosen rows."""
    keys, width = x.shape[1], weight.shape[0]
    zeros = [torch.zeros(shape, dtype=torch.float64, device=x.device) for shape in ((keys, keys), (width, keys))]
    total = _Sums(0, 0.0, x.new_zeros(keys).double(), x.new_zeros(width).double(), *zeros)
    for rows in torch.split(chosen, _CHUNK):
        part = x[rows].double()
        lacking = target[rows] - part @ weight.T - bias
        factor = importance[rows, None]
        weighted = part * factor
        sums = ((factor * lacking).sum(0), weighted.T @ part, lacking.T @ weighted)
        total = total + _Sums(len(part), float(factor.sum()), weighted.sum(0), *sums)
    return total


def _fit(covariance: torch.Tensor, lacking: torch.Tensor, ridge: float) -> torch.Tensor:
    damped = covariance.clone()
    damped.diagonal().add_(ridge * covariance.diagonal().mean().clamp_min(1e-12))
    factor, failed = torch.linalg.cholesky_ex(damped)
    if failed:  # constant inputs, whose covariance is rounding noise: there is nothing to fit
        return torch.zeros_like(lacking)
    return torch.cholesky_solve(lacking.T, factor).T


def _gain(change: torch.Tensor, covariance: torch.Tensor, lacking: torch.Tensor) -> float:
    """How much of `E |d|^2` a correction removes."""
    return float(2 * (change * lacking).sum() - ((change @ covariance) * change).sum())
