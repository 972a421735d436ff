"""Some columns of a weight, one after the other: what error-compensated rounding repeats most.

Every column takes some twenty steps of few numbers each: on a GPU they are recorded (`recorded.py`).
"""

from dataclasses import dataclass

import torch

from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.level_codes import LevelCodes

Codes = CodeRange | LevelCodes
"""The codes that rounding chooses among: all whole numbers of a range, or levels."""

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class PairLimits:
    """What neighbours along K leave to each other.

    Attributes:
        partner: of every column where its neighbour stands; itself without one.
        left: largest magnitude that a code may have, [K, rows]; `took` changes it.
        limit: of two neighbours together.
        start: number of the column that counts as the first one.
    """

    partner: list[int]
    left: torch.Tensor
    limit: int
    start: int = 0

    @staticmethod
    def of(codes: torch.Tensor, partner: list[int], limit: int) -> "PairLimits":
        """What columns leave that have these codes, [K, rows]."""
        left = limit - codes[partner].abs()
        left[[column for column, other in enumerate(partner) if column == other]] = limit
        return PairLimits(partner, left, limit)

    def took(self, column: int, code: torch.Tensor) -> None:
        """A column, counted from `start`, has its codes, [rows]: its neighbour has what they leave."""
        own = self.start + column
        if self.partner[own] != own:
            self.left[self.partner[own]] = self.limit - code.abs()

    def apply(self, column: int, code: torch.Tensor) -> torch.Tensor:
        """The codes of a column, cut to what its neighbour leaves."""
        left = self.left[self.start + column]
        return torch.minimum(torch.maximum(code, -left), left)


def round_columns(rest: torch.Tensor, upper: torch.Tensor, allowed: Codes, pairs: PairLimits | None = None) -> Tensors:
    """Codes of columns whose errors move to those behind them.

    Args:
        rest: weights in code units, [columns, rows]; changed.
        upper: their part of `Hessian.upper`, [columns, columns].
        allowed: the codes, of these rows.
        pairs: what their neighbours leave, its `start` that of these columns; None where there is no limit.

    Returns:
        Codes and errors, [columns, rows] each.
    """
    result, errors = torch.empty_like(rest), torch.empty_like(rest)
    for i in range(len(rest)):
        result[i] = code = _nearest(rest[i], upper[i, i].reciprocal().square(), allowed, pairs, i)
        torch.div(rest[i] - code, upper[i, i], out=errors[i])
        rest[i + 1 :].addr_(upper[i, i + 1 :], errors[i], alpha=-1)
    return result, errors


def descend_columns(
    codes: torch.Tensor,
    gradient: torch.Tensor,
    damped: torch.Tensor,
    allowed: Codes,
    pairs: PairLimits | None = None,
) -> Tensors:
    """Better codes of columns, one after the other, while all others stand.

    Args:
        codes: [columns, rows].
        gradient: of the error with respect to them, [columns, rows]; changed.
        damped: their part of `Hessian.damped`, [columns, columns].
        allowed: the codes, of these rows.
        pairs: what their neighbours leave, its `start` that of these columns; None where there is no limit.

    Returns:
        New codes, and by how much they moved, [columns, rows] each.
    """
    result, moves = torch.empty_like(codes), torch.empty_like(codes)
    for i in range(len(codes)):
        result[i] = code = _nearest(codes[i] + gradient[i] / damped[i, i], damped[i, i], allowed, pairs, i)
        torch.sub(code, codes[i], out=moves[i])
        gradient[i:].addr_(damped[i:, i], moves[i], alpha=-1)
    return result, moves


def _nearest(
    value: torch.Tensor, importance: torch.Tensor, allowed: Codes, pairs: PairLimits | None, column: int
) -> torch.Tensor:
    if isinstance(allowed, LevelCodes):
        return allowed.nearest(value, importance)
    code = value.round().clamp_(allowed.low, allowed.high)
    if pairs is not None:
        code = pairs.apply(column, code)
        pairs.took(column, code)
    return code
