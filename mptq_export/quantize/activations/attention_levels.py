"""Levels of attention codes: OPT-m, and the share of a row's maximum that the largest code stands for.

A row of attention is often one large weight over hundreds of small ones that together weigh as much. With few equal
steps, as many as the maximum takes, all of the small ones are code 0 and what they carry is lost. A largest code below
the maximum gives some of them back; regions of ratio 2^m reach both ends. Codes stay whole numbers that the matmul
behind reads, their sum is exact as before, and any scale of theirs cancels in the division by it.
"""

from collections.abc import Iterator

import torch

from mptq_export.quantize.activations.opt_m import layouts
from mptq_export.quantize.simulation.fake_quantize import steps
from mptq_export.recipe.schema import ActivationQuant

#: The widest codes that are searched: more have equal steps that are fine enough.
WIDEST = 6

#: The largest code: a product of two of them fits int16 for the kernel that adds pairs.
_LARGEST = 127

#: Shares of a row's maximum that the largest code is tried at. Above a half, so that what `ScoreConstants.codes` clamps
#: (a quarter of the maximum by the largest code) is code 0.
_SHARES = (1.0, 0.8, 0.65, 0.52)

#: Regions that are tried: each is an operation over all of the attention.
_REGIONS = 2

#: Rows that all levels are tried on, and those on which the best few are measured.
_ROWS = (128, 1024)

#: How many the best few are.
_MEASURED = 8

#: Spreads rows over all rows: the golden ratio.
_STRIDE = 0.6180339887498949


def drawn_rows(value: torch.Tensor, count: int = _ROWS[-1]) -> torch.Tensor:
    """Some rows, spread over all images, heads and tokens: float32 [n, T] from [..., T]."""
    rows = value.reshape(-1, value.shape[-1])
    if len(rows) <= count:
        return rows
    places = (torch.arange(count, dtype=torch.float64) * _STRIDE).frac() * len(rows)
    return rows[places.long().to(rows.device)]


def best_levels(rows: torch.Tensor, bits: int, reason: str) -> list[ActivationQuant]:
    """Quantizers of attention codes, the best first: by the squared error of the weights, each row divided by its sum.

    The values that are weighted are centred (`transform/balance_attention.py`) and differ from token to token, so that
    an output's error goes by that.

    Args:
        rows: float32 [n, T], `exp(score - maximum)`.
        bits: 2 to `WIDEST`.
        reason: of equal steps up to the maximum.
    """

    def errors(seen: torch.Tensor, tried: list[ActivationQuant]) -> list[tuple[float, ActivationQuant]]:
        exact = seen.double()
        exact = exact / exact.sum(-1, keepdim=True)
        found = []
        for quant in tried:
            codes = steps(seen, quant).double()
            found.append((float((codes / codes.sum(-1, keepdim=True) - exact).square().sum()), quant))
        return sorted(found, key=lambda entry: entry[0])

    first = errors(drawn_rows(rows, _ROWS[0]), list(_candidates(bits, reason)))
    return [quant for _, quant in errors(rows, [quant for _, quant in first[:_MEASURED]])]


def largest_step(bits: int) -> float:
    """The most steps that a row's maximum is of, in any of the levels that are tried."""
    return max(1 / quant.scale for quant in _candidates(bits, ""))


def _candidates(bits: int, reason: str) -> Iterator[ActivationQuant]:
    searched = f"{reason.partition(':')[0]}: levels with the smallest error of the weights"
    for zero, regions in layouts(2**bits - 1):
        last, uniform = regions[-1].last, len(regions) == 1
        if zero or last > _LARGEST or len(regions) > _REGIONS or (uniform and regions[0].shift):
            continue
        for share in _SHARES:
            plain = uniform and share == 1.0
            yield ActivationQuant(
                share / last, 0, 0, last, bits, reason if plain else searched, () if uniform else regions
            )
