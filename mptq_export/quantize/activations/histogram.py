"""A weighted histogram of all values of a site: the error of a candidate range without another pass over them.

All rows are counted, because rare outliers decide how much of a range may be cut.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

#: Bins between the smallest and the largest value: 16 in a step of an 8-bit quantizer.
_BINS = 4096

#: Elements that are counted at once.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Histogram:
    """Values and how much they count.

    Attributes:
        values: float64 [bins], the middle of every bin, rising.
        counts: float64 [bins].
        low: smallest value.
        high: largest value.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.float64]
    low: float
    high: float

    @staticmethod
    def of(
        value: torch.Tensor,
        columns: torch.Tensor | None = None,
        importance: torch.Tensor | None = None,
        *,
        chunk: int = _CHUNK,
    ) -> "Histogram":
        """Count.

        Args:
            value: float32 [..., K].
            columns: float64 [K], how much every channel counts.
            importance: float64 [rows], how much every row counts.
            chunk: elements that are counted at once.
        """
        rows = value.reshape(-1, value.shape[-1])
        low, high = (float(v) for v in torch.aminmax(rows))
        factor = _BINS / max(high - low, 1e-30)
        counts = torch.zeros(_BINS, dtype=torch.float64, device=rows.device)
        columns = counts.new_ones(rows.shape[1]) if columns is None else columns.double()
        importance = counts.new_ones(len(rows)) if importance is None else importance.double()
        step = max(1, chunk // rows.shape[1])
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            bins = ((some - low) * factor).to(torch.int32).clamp_(0, _BINS - 1)
            weights = importance[start : start + step, None] * columns
            counts += torch.bincount(bins.reshape(-1), weights.reshape(-1), minlength=_BINS)
        values: NDArray[np.float64] = low + (np.arange(_BINS, dtype=np.float64) + 0.5) / factor
        return Histogram(values, counts.cpu().numpy(), low, high)
