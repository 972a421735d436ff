"""A bounded sample of the rows of a value that stands for all of them, outliers included."""

from dataclasses import dataclass

import torch

#: Rows with the largest elements, in their own units or in deviations of their channel: all of them are in the sample,
#: because they decide what a range may cut.
_EXTREMES = 256

#: Rows that are drawn from the others.
_DRAWN = 1792


@dataclass(frozen=True)
class Sample:
    """Rows and how much each counts.

    Attributes:
        rows: float32 [n, K].
        counts: float32 [n]; the counts of all rows together are about the number of rows of the value.
    """

    rows: torch.Tensor
    counts: torch.Tensor

    @staticmethod
    def of(value: torch.Tensor, importance: torch.Tensor | None = None) -> "Sample":
        """Draw, the same rows every time.

        Args:
            value: float32 [..., K].
            importance: float32 [rows]; others are drawn in proportion to it, and extremes count as much.
        """
        rows = value.reshape(-1, value.shape[-1])
        weights = torch.ones_like(rows[:, 0]) if importance is None else importance
        if len(rows) <= _EXTREMES + _DRAWN:
            return Sample(rows, weights)
        extremes = _outlyingness(rows).argsort(descending=True, stable=True)[:_EXTREMES]
        others = torch.ones_like(weights, dtype=torch.bool)
        others[extremes] = False
        index = others.nonzero()[:, 0]
        chances = weights[index].double().cpu()
        generator = torch.Generator().manual_seed(0)
        drawn = index[torch.multinomial(chances, _DRAWN, replacement=True, generator=generator).to(index.device)]
        each = torch.full((_DRAWN,), float(chances.sum()) / _DRAWN, device=rows.device)
        return Sample(rows[torch.cat([extremes, drawn])], torch.cat([weights[extremes], each]))

    def squared_error(self, gap: torch.Tensor, weight: torch.Tensor) -> float:
        """Squared error of `x W^T` over the sample.

        Args:
            gap: float32 [n, K], error of the rows.
            weight: float32 [N, K].
        """
        if weight.shape[0] < weight.shape[1]:
            errors = (gap @ weight.T).square().sum(1)
        else:
            errors = ((gap @ (weight.T @ weight)) * gap).sum(1)
        return float((errors * self.counts).sum())


def _outlyingness(rows: torch.Tensor) -> torch.Tensor:
    largest = rows.abs().amax(1)
    centred = rows - rows.mean(0)
    deviations = centred.div_(centred.square().mean(0).sqrt_().clamp_min_(1e-8)).abs_().amax(1)
    return torch.maximum(largest / largest.max().clamp_min(1e-30), deviations / deviations.max().clamp_min(1e-30))


def drawn_rows(value: torch.Tensor, importance: torch.Tensor | None = None) -> torch.Tensor:
    """Rows that all count alike: float32 [n, K], drawn in proportion to their importance."""
    rows = value.reshape(-1, value.shape[-1])
    if importance is None and len(rows) <= _EXTREMES + _DRAWN:
        return rows
    chances = torch.ones(len(rows)) if importance is None else importance.cpu()
    chosen = torch.multinomial(
        chances.double(), _EXTREMES + _DRAWN, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    return rows[chosen.to(rows.device)]
