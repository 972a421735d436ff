"""What a layer reads, as rounding sees it: H = E[x x^T], and its factors, worked out once for all widths and scales."""

from dataclasses import dataclass
from functools import cached_property

import torch

#: Share of the mean diagonal of H that is added to it, so that it can be inverted.
DAMPING = 0.01


@dataclass(frozen=True)
class Hessian:
    """H of one layer; everything is float64.

    Attributes:
        matrix: [K, K], symmetric, positive semidefinite.
    """

    matrix: torch.Tensor

    @cached_property
    def order(self) -> torch.Tensor:
        """Columns by falling diagonal: those whose errors matter most are rounded first. int64 [K]."""
        return self.matrix.diagonal().argsort(descending=True, stable=True)

    @cached_property
    def partner(self) -> list[int]:
        """Of every column in that order, where its neighbour among pairs (2i, 2i + 1) stands; itself without one."""
        size = len(self.order)
        position = torch.empty_like(self.order)
        position[self.order] = torch.arange(size, device=position.device)
        return [int(p) for p in position[(self.order ^ 1).clamp_max(size - 1)].tolist()]

    @cached_property
    def _factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        damped = self.matrix[self.order][:, self.order].clone()
        damped.diagonal().add_(DAMPING * self.matrix.diagonal().mean().clamp_min(1e-12))
        upper, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(upper), upper=True)
        if failed or not upper.isfinite().all():
            # errors beyond what floats hold: nothing says which weights matter, each takes its nearest code
            damped = upper = torch.eye(len(damped), dtype=damped.dtype, device=damped.device)
        return damped, upper

    @property
    def damped(self) -> torch.Tensor:
        """H in that order with its diagonal raised, [K, K]; the identity where it has no inverse."""
        return self._factors[0]

    @property
    def upper(self) -> torch.Tensor:
        """U with `U^T U` = the inverse of `damped`, [K, K]."""
        return self._factors[1]

    @cached_property
    def conditional(self) -> torch.Tensor:
        """What the error of a column costs when all columns rounded after it make up for it, [K]."""
        found = torch.empty_like(self.upper.diagonal())
        found[self.order] = self.upper.diagonal().reciprocal().square()
        return found

    def error(self, gap: torch.Tensor) -> torch.Tensor:
        """`g H g^T` of every row: the mean squared error of the outputs of weights that are off by g.

        Args:
            gap: [N, K].

        Returns:
            [N].
        """
        gap = gap.double()
        return ((gap @ self.matrix) * gap).sum(1)
