"""Ridge correction: weights refitted to the quantized inputs, from second moments of what a layer reads and lacks.

`d = y - W x - b` is what the quantized inputs x leave to be corrected towards the target y. The correction
V minimises `E |d - V x|^2 + r |V|^2` (ridge regression; ERQ, arXiv 2407.06794, does so for the quantization error
of x alone). Its strength r is the one that predicts best on the half of the images that was not fitted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from mptq_export.quantize.weights.bias_correction import BiasCorrection
from mptq_export.quantize.weights.hessian import Hessian

#: Ridge strengths that are tried, as shares of the mean diagonal of H.
RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)

#: Share of the mean square that is added to variances: what sums leave of a constant may be negative.
_ROUNDING = 1e-5

#: Share of the outputs' variance that a correction has to remove: anything less may be what sums round.
_NOISE = 1e-10

#: Rows of x x^T that are summed at once, from the diagonal on: it is symmetric.
_STRIP = 192


@dataclass(frozen=True)
class FittingRows:
    """What a layer is fitted to: its rows of some images.

    Attributes:
        x: float32 [n, K], what the layer reads.
        target: float64 [n, N], what it should give.
        importance: float64 [n], how much every row counts.
        odd: whether the images are odd ones; else all are even.
    """

    x: torch.Tensor
    target: torch.Tensor
    importance: torch.Tensor
    odd: bool


@dataclass
class _Sums:
    """Weighted sums over rows: 1, x and y of every call, x x^T and y x^T of all, with y the target; float64.

    Left of its diagonal x x^T has its sums when all rows are counted, by `mirror`.
    """

    rows: int
    weights: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    xx: torch.Tensor
    yx: torch.Tensor

    @staticmethod
    def zeros(weight: torch.Tensor, calls: int) -> "_Sums":
        """Of no rows, for a weight [N, K]."""
        width, keys = weight.shape
        shapes = ((calls,), (calls, keys), (calls, width), (keys, keys), (width, keys))
        return _Sums(0, *(weight.new_zeros(shape) for shape in shapes))

    def add(self, rows: FittingRows, call: int) -> None:
        """Count more rows."""
        x = rows.x.double()
        weighted = x * rows.importance[:, None]
        self.rows += len(x)
        self.weights[call] += rows.importance.sum()
        self.x[call] += weighted.sum(0)
        self.y[call] += rows.importance @ rows.target
        for start in range(0, x.shape[1], _STRIP):
            strip = slice(start, start + _STRIP)
            self.xx[strip, start:].addmm_(weighted.T[strip], x[:, start:])
        self.yx.addmm_(rows.target.T, weighted)

    def mirror(self) -> None:
        """Fill x x^T in left of its diagonal."""
        self.xx.copy_(self.xx.triu() + self.xx.triu(1).T)

    def __add__(self, other: "_Sums") -> "_Sums":
        rows, weights = self.rows + other.rows, self.weights + other.weights
        return _Sums(rows, weights, self.x + other.x, self.y + other.y, self.xx + other.xx, self.yx + other.yx)

    @property
    def weight(self) -> float:
        """Of all rows."""
        return float(self.weights.sum())

    def means(self) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
        """Of every call its share of the weight, and the means of x [K] and y [N]."""
        parts = zip(self.weights.tolist(), self.x, self.y, strict=True)
        return [(count / self.weight, x / count, y / count) for count, x, y in parts]

    def covariance(self) -> torch.Tensor:
        """Of x around the mean of its call, its diagonal raised a little, [K, K]."""
        covariance = self.xx / self.weight
        for share, x, _ in self.means():
            covariance.addr_(x, x, alpha=-share)
        covariance.diagonal().add_(_ROUNDING * self.xx.diagonal().mean() / self.weight)
        return covariance

    def lacking(self, weight: torch.Tensor) -> torch.Tensor:
        """Covariance of d with x, around the means of every call, for the weight W, [N, K]."""
        lacking = (self.yx - weight @ self.xx) / self.weight
        for share, x, y in self.means():
            lacking.addr_(y - weight @ x, x, alpha=-share)
        return lacking

    def centred(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`covariance` and `lacking`."""
        return self.covariance(), self.lacking(weight)


@dataclass(frozen=True)
class Moments:
    """Moments of one layer.

    Where it is called at several places, each call has a bias of its own, so that means are those of its own rows.

    Attributes:
        halves: sums over the even and over the odd images.
        weight: W, float64 [N, K].
        bias: b, float64 [N].
    """

    halves: tuple[_Sums, _Sums]
    weight: torch.Tensor
    bias: torch.Tensor

    @staticmethod
    def of(calls: Sequence[Iterable[FittingRows]], weight: torch.Tensor, bias: torch.Tensor) -> "Moments":
        """Measure.

        Args:
            calls: of every call of the layer the rows of all images, a few images at a time.
            weight: [N, K].
            bias: [N].
        """
        weight, bias = weight.double(), bias.double()
        first, second = (_Sums.zeros(weight, len(calls)) for _ in range(2))
        for call, chunks in enumerate(calls):
            for rows in chunks:
                (second if rows.odd else first).add(rows, call)
        for half in (first, second):
            half.mirror()
        return Moments((first, second), weight, bias)

    def _all(self) -> _Sums:
        return self.halves[0] + self.halves[1]

    @property
    def bias_corrections(self) -> tuple[BiasCorrection, ...]:
        """What is left to be corrected by the bias of every call."""
        return tuple(
            BiasCorrection(self.weight, self.bias, x, y - self.weight @ x - self.bias)
            for _, x, y in self._all().means()
        )

    def hessian(self, *, centred: bool) -> Hessian:
        """Of E[x x^T] or the covariance of x, drawn to its diagonal where there are few rows."""
        total = self._all()
        full = total.covariance() if centred else total.xx / total.weight
        share = len(full) / (len(full) + total.rows)
        diagonal = full.diagonal().clone()
        full.mul_(1 - share).diagonal().add_(diagonal, alpha=share)
        return Hessian(full)

    def ridge_corrected(self) -> torch.Tensor:
        """The weight that fits the target best, float64 [N, K]; the weight itself where no correction generalises."""
        if not self.halves[1].rows:  # one image: nothing to hold out
            return self.weight
        first, second = (half.centred(self.weight) for half in self.halves)
        gains = {
            ridge: sum(_gain(_fit(*fit, ridge), *held_out) for fit, held_out in ((first, second), (second, first)))
            for ridge in RIDGES
        }
        best = max(RIDGES, key=lambda ridge: gains[ridge])
        variance = sum(((self.weight @ half[0]) * self.weight).sum() for half in (first, second))
        if not gains[best] > _NOISE * float(variance):
            return self.weight
        return self.weight + _fit(*self._all().centred(self.weight), best)


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
