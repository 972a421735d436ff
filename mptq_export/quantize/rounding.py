"""Error-compensated rounding of weights (GPTQ, arXiv 2210.17323, in the order of falling diagonal).

Minimises `(w - q s) H (w - q s)^T` for every output channel w, where H = E[x x^T] of what the layer reads: column by
column, each rounding error is moved to the columns that are still free, then a few sweeps of coordinate descent.
"""

import torch

#: Part of the mean diagonal of H that is added to it, so that it can be inverted.
DAMPING = 0.01

_BLOCK = 64

#: Rows that are rounded at once: more do not fit a CPU's caches, fewer cost Python's time.
_ROWS = 4096


def compensated(
    weight: torch.Tensor,
    scale: torch.Tensor,
    hessian: torch.Tensor,
    low: int,
    high: int,
    pair_limit: int | None,
    sweeps: int = 2,
) -> torch.Tensor:
    """Round rows of a weight matrix.

    Args:
        weight: [M, K].
        scale: [M].
        hessian: float64 [K, K], symmetric, positive semidefinite; everything is computed in float64.
        low: smallest code.
        high: largest code.
        pair_limit: largest |w[2i]| + |w[2i+1]|, or None.
        sweeps: passes of coordinate descent after the first pass.

    Returns:
        Whole numbers as float32 [M, K].
    """
    size = weight.shape[1]
    order = hessian.diagonal().argsort(descending=True, stable=True)
    damped = hessian[order][:, order].clone()
    damped.diagonal().add_(DAMPING * hessian.diagonal().mean().clamp_min(1e-12))
    upper, failed = torch.linalg.cholesky_ex(damped)
    if not failed:
        upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(upper), upper=True)
    if failed or not upper.isfinite().all():
        # errors beyond what floats hold: nothing says which weights matter, each takes its nearest code
        damped = upper = torch.eye(size, dtype=damped.dtype, device=damped.device)
    position = torch.empty_like(order)
    position[order] = torch.arange(size, device=order.device)
    partner = [int(p) for p in position[(order ^ 1).clamp_max(size - 1)].tolist()]
    rounded = []
    for rows, scales in zip(torch.split(weight.double(), _ROWS), torch.split(scale.double(), _ROWS), strict=True):
        target = (rows / scales[:, None]).T[order].contiguous()  # in code units, one column of the weight a row
        result = _propagate(target.clone(), upper, low, high, pair_limit, partner)
        _descend(result, target, damped, low, high, pair_limit, partner, sweeps)
        codes = torch.empty_like(result)
        codes[order] = result
        rounded.append(codes.T.float())
    return torch.cat(rounded).contiguous()


def _propagate(
    rest: torch.Tensor, upper: torch.Tensor, low: int, high: int, pair_limit: int | None, partner: list[int]
) -> torch.Tensor:
    """Round column by column and move every error to the columns behind; `rest` is changed."""
    size, result = len(rest), torch.zeros_like(rest)
    limit = torch.full_like(rest, float(pair_limit or 2 * high + 2))  # what the neighbour leaves
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = torch.empty_like(rest[start:stop])
        for i in range(start, stop):
            code = _clamped(rest[i], low, high, limit[i] if pair_limit else None)
            result[i] = code
            if pair_limit and partner[i] != i:
                limit[partner[i]] = pair_limit - code.abs()
            error = (rest[i] - code) / upper[i, i]
            errors[i - start] = error
            if i + 1 < stop:
                rest[i + 1 : stop] -= upper[i, i + 1 : stop, None] * error
        if stop < size:
            rest[stop:] -= upper[start:stop, stop:].T @ errors
    return result


def _descend(
    codes: torch.Tensor,
    target: torch.Tensor,
    hessian: torch.Tensor,
    low: int,
    high: int,
    pair_limit: int | None,
    partner: list[int],
    sweeps: int,
) -> None:
    """Coordinate descent in place: every column takes its best code while all others stand."""
    size = len(codes)
    for _ in range(sweeps):
        gradient = hessian @ (target - codes)
        for start in range(0, size, _BLOCK):
            stop = min(start + _BLOCK, size)
            before = codes[start:stop].clone()
            for i in range(start, stop):
                wanted = codes[i] + gradient[i] / hessian[i, i]
                left = pair_limit - codes[partner[i]].abs() if pair_limit and partner[i] != i else None
                code = _clamped(wanted, low, high, left)
                moved = code - codes[i]
                codes[i] = code
                gradient[i:stop] -= hessian[i:stop, i, None] * moved
            if stop < size:
                gradient[stop:] -= hessian[stop:, start:stop] @ (codes[start:stop] - before)


def _clamped(value: torch.Tensor, low: int, high: int, limit: torch.Tensor | None) -> torch.Tensor:
    code = value.round().clamp_(low, high)
    return code if limit is None else torch.minimum(torch.maximum(code, -limit), limit)
