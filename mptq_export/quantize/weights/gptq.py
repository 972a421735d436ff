"""Error-compensated rounding of weights (GPTQ, arXiv 2210.17323, in the order of falling diagonal).

Minimises `(w - q s) H (w - q s)^T` for every output channel w: column by column, each rounding error is moved to the
columns that are still free; then a few sweeps of coordinate descent.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.columns import Codes, PairLimits, Tensors, descend_columns, round_columns
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.level_codes import LevelCodes
from mptq_export.quantize.weights.recorded import rows_added, run_recorded

_BLOCK = 64

#: Rows that are rounded at once: more do not fit a CPU's caches, fewer cost Python's time.
ROWS = 4096


def round_gptq(weight: torch.Tensor, scale: torch.Tensor, hessian: Hessian, allowed: Codes) -> torch.Tensor:
    """Round column by column and move every error to the columns behind.

    Args:
        weight: [M, K].
        scale: [M].
        hessian: of what the layer reads; everything is computed in float64.
        allowed: the codes.

    Returns:
        Whole numbers as float32 [M, K].
    """

    def propagate(codes: Codes, target: torch.Tensor) -> torch.Tensor:
        return _propagate(target, hessian, codes)

    return _by_rows(propagate, hessian, allowed, weight / scale[:, None].double())


def descend_coordinates(
    codes: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    hessian: Hessian,
    allowed: Codes,
    *,
    sweeps: int = 2,
) -> torch.Tensor:
    """Better codes by coordinate descent: every column takes its best code while all others stand.

    Args:
        codes: [M, K], whole numbers.
        weight: [M, K].
        scale: [M].
        hessian: of what the layer reads; everything is computed in float64.
        allowed: the codes.
        sweeps: how often every column moves.

    Returns:
        Whole numbers as float32 [M, K].
    """

    def descend(its: Codes, target: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        for _ in range(sweeps):
            _sweep(columns, target, hessian, its)
        return columns

    return _by_rows(descend, hessian, allowed, weight / scale[:, None].double(), codes)


def _by_rows(
    work: Callable[..., torch.Tensor], hessian: Hessian, allowed: Codes, *matrices: torch.Tensor
) -> torch.Tensor:
    """What `work` makes of some rows at a time; it sees them as columns, float64 [K, rows], in the Hessian's order."""
    found = []
    for start, *some in zip(
        range(0, len(matrices[0]), ROWS), *(torch.split(matrix, ROWS) for matrix in matrices), strict=True
    ):
        count = len(some[0])
        added = rows_added(some[0])
        codes = allowed.of_rows(start, start + count, added) if isinstance(allowed, LevelCodes) else allowed
        columns = work(codes, *(_columns_of(rows, hessian, added) for rows in some))
        result = torch.empty_like(columns)
        result[hessian.order] = columns
        found.append(result.T[:count].float())
    return torch.cat(found).contiguous()


def _columns_of(rows: torch.Tensor, hessian: Hessian, added: int) -> torch.Tensor:
    """Rows as columns, and rows of zeros behind them."""
    return torch.nn.functional.pad(rows.double().T[hessian.order], (0, added)).contiguous()


def _propagate(rest: torch.Tensor, hessian: Hessian, allowed: Codes) -> torch.Tensor:
    """Codes [K, rows] of weights in code units, which are changed."""
    size, result, upper = len(rest), torch.empty_like(rest), hessian.upper
    pairs = _pairs(torch.zeros_like(rest), hessian, allowed)
    for start in range(0, size, _BLOCK):
        block = slice(start, min(start + _BLOCK, size))
        codes, errors = _done(round_columns, allowed, pairs, start, rest[block], upper[block, block])
        result[block] = codes
        if block.stop < size:
            rest[block.stop :].addmm_(upper[block, block.stop :].T, errors, alpha=-1)
    return result


def _sweep(codes: torch.Tensor, target: torch.Tensor, hessian: Hessian, allowed: Codes) -> None:
    """Every column once, in place."""
    size, damped = len(codes), hessian.damped
    gradient = damped @ (target - codes)
    pairs = _pairs(codes, hessian, allowed)
    for start in range(0, size, _BLOCK):
        block = slice(start, min(start + _BLOCK, size))
        its = codes[block], gradient[block], damped[block, block]
        codes[block], moves = _done(descend_columns, allowed, pairs, start, *its)
        if block.stop < size:
            gradient[block.stop :].addmm_(damped[block.stop :, block], moves, alpha=-1)


def _done(
    work: Callable[..., Tensors], allowed: Codes, pairs: PairLimits | None, start: int, *blocks: torch.Tensor
) -> Tensors:
    """What the work on some columns gives, of which the first has this number: limits of pairs are not recorded."""
    if pairs is None:
        return run_recorded(work, allowed, *blocks)
    return work(*blocks, allowed, replace(pairs, start=start))


def _pairs(codes: torch.Tensor, hessian: Hessian, allowed: Codes) -> PairLimits | None:
    """What neighbours leave that have these codes, [K, rows]."""
    if not isinstance(allowed, CodeRange) or allowed.pair_limit is None:
        return None
    return PairLimits.of(codes, hessian.partner, allowed.pair_limit)
