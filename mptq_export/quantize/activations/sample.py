"""A bounded sample of the rows of a value that stands for all of them, outliers included.

Errors are float64: candidates are compared by them, and which is best must not depend on the order of sums.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

#: Rows with the largest elements, in their own units or in deviations of their channel: all of them are in the sample,
#: because they decide what a range may cut.
_EXTREMES = 256

#: Rows that are drawn from the others.
_DRAWN = 1792

#: Elements whose deviations are computed at once.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Sample:
    """Rows and how much each counts.

    Attributes:
        rows: float32 [n, K].
        counts: float64 [n]; the counts of all rows together are about the number of rows of the value.
    """

    rows: torch.Tensor
    counts: torch.Tensor

    @staticmethod
    def of(value: torch.Tensor, importance: torch.Tensor | None = None) -> "Sample":
        """Draw, the same rows every time.

        Args:
            value: float32 [..., K].
            importance: float64 [rows]; others are drawn in proportion to it, and extremes count as much.
        """
        rows = value.reshape(-1, value.shape[-1])
        weights = rows.new_ones(len(rows), dtype=torch.float64) if importance is None else importance.double()
        if len(rows) <= _EXTREMES + _DRAWN:
            return Sample(rows, weights)
        extremes = _outlyingness(rows).argsort(descending=True, stable=True)[:_EXTREMES]
        others = torch.ones_like(weights, dtype=torch.bool)
        others[extremes] = False
        index = others.nonzero()[:, 0]
        chances = weights[index].cpu()
        generator = torch.Generator().manual_seed(0)
        drawn = index[torch.multinomial(chances, _DRAWN, replacement=True, generator=generator).to(index.device)]
        each = weights.new_full((_DRAWN,), float(chances.sum()) / _DRAWN)
        return Sample(rows[torch.cat([extremes, drawn])], torch.cat([weights[extremes], each]))

    def output_error(self, weight: torch.Tensor) -> Callable[[torch.Tensor], float]:
        """What gives the squared error of `x W^T` over the sample for an error of its rows, float32 [n, K].

        Args:
            weight: [N, K], of what reads the rows.
        """
        weight = weight.double()
        square = weight.T @ weight if len(weight) >= weight.shape[1] else None

        def error(gap: torch.Tensor) -> float:
            gap = gap.double()
            errors = (gap @ weight.T).square().sum(1) if square is None else ((gap @ square) * gap).sum(1)
            return float((errors * self.counts).sum())

        return error


def _outlyingness(rows: torch.Tensor) -> torch.Tensor:
    """Largest element of every row, in its own units or in deviations of its channel: float64 [rows], at most 1."""
    chunks = torch.split(rows, max(1, _CHUNK // rows.shape[1]))
    mean = torch.stack([chunk.sum(0, dtype=torch.float64) for chunk in chunks]).sum(0) / len(rows)
    square = torch.stack([(chunk - mean).square_().sum(0) for chunk in chunks]).sum(0) / len(rows)
    deviation = square.sqrt_().clamp_min_(1e-8)
    largest = torch.cat([chunk.abs().amax(1) for chunk in chunks]).double()
    deviations = torch.cat([(chunk - mean).div_(deviation).abs_().amax(1) for chunk in chunks])
    return torch.maximum(largest / largest.max().clamp_min(1e-30), deviations / deviations.max().clamp_min(1e-30))


def draw_rows(value: torch.Tensor, importance: torch.Tensor | None = None) -> torch.Tensor:
    """Rows that all count alike: float32 [n, K], drawn in proportion to their importance."""
    rows = value.reshape(-1, value.shape[-1])
    if importance is None and len(rows) <= _EXTREMES + _DRAWN:
        return rows
    chances = torch.ones(len(rows), dtype=torch.float64) if importance is None else importance.cpu().double()
    chosen = torch.multinomial(
        chances, _EXTREMES + _DRAWN, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    return rows[chosen.to(rows.device)]
