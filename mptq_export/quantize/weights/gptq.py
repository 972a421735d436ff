"""Error-compensated rounding of weights (GPTQ, arXiv 2210.17323, in the order of falling diagonal).

Minimises `(w - q s) H (w - q s)^T` for every output channel w: column by column, each rounding error is moved to the
columns that are still free; then a few sweeps of coordinate descent.
"""

from collections.abc import Callable

import torch

from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.level_codes import LevelCodes

_BLOCK = 64

#: Rows that are rounded at once: more do not fit a CPU's caches, fewer cost Python's time.
ROWS = 4096


Codes = CodeRange | LevelCodes
"""The codes that rounding chooses among: all whole numbers of a range, or levels."""


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
        codes = allowed.of_rows(start, start + ROWS) if isinstance(allowed, LevelCodes) else allowed
        columns = work(codes, *(rows.double().T[hessian.order].contiguous() for rows in some))
        result = torch.empty_like(columns)
        result[hessian.order] = columns
        found.append(result.T.float())
    return torch.cat(found).contiguous()


def _propagate(rest: torch.Tensor, hessian: Hessian, allowed: Codes) -> torch.Tensor:
    """Codes [K, rows] of weights in code units, which are changed."""
    size, result = len(rest), torch.zeros_like(rest)
    upper, partner = hessian.upper, hessian.partner
    pair_limit = allowed.pair_limit if isinstance(allowed, CodeRange) else None
    limit = torch.full_like(rest, float(pair_limit or 0))  # what the neighbour leaves
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = torch.empty_like(rest[start:stop])
        for i in range(start, stop):
            if isinstance(allowed, LevelCodes):
                code = allowed.nearest(rest[i], upper[i, i].reciprocal().square())
            else:
                code = _clamped(rest[i], allowed, limit[i] if pair_limit else None)
            result[i] = code
            if pair_limit and partner[i] != i:
                limit[partner[i]] = pair_limit - code.abs()
            error = torch.div(rest[i] - code, upper[i, i], out=errors[i - start])
            if i + 1 < stop:
                rest[i + 1 : stop].addr_(upper[i, i + 1 : stop], error, alpha=-1)
        if stop < size:
            rest[stop:].addmm_(upper[start:stop, stop:].T, errors, alpha=-1)
    return result


def _sweep(codes: torch.Tensor, target: torch.Tensor, hessian: Hessian, allowed: Codes) -> None:
    """Every column once, in place."""
    size, damped, partner = len(codes), hessian.damped, hessian.partner
    gradient = damped @ (target - codes)
    pair_limit = allowed.pair_limit if isinstance(allowed, CodeRange) else None
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        before = codes[start:stop].clone()
        for i in range(start, stop):
            wanted = codes[i] + gradient[i] / damped[i, i]
            if isinstance(allowed, LevelCodes):
                code = allowed.nearest(wanted, damped[i, i])
            else:
                left = pair_limit - codes[partner[i]].abs() if pair_limit and partner[i] != i else None
                code = _clamped(wanted, allowed, left)
            moved = code - codes[i]
            codes[i] = code
            gradient[i:stop].addr_(damped[i:stop, i], moved, alpha=-1)
        if stop < size:
            gradient[stop:].addmm_(damped[stop:, start:stop], codes[start:stop] - before, alpha=-1)


def _clamped(value: torch.Tensor, code_range: CodeRange, limit: torch.Tensor | None) -> torch.Tensor:
    code = value.round().clamp_(code_range.low, code_range.high)
    return code if limit is None else torch.minimum(torch.maximum(code, -limit), limit)
