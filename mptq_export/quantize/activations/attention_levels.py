"""OPT-m for attention codes: levels close together where most weights are, and up to the row's maximum.

A row of attention is often one large weight over hundreds of small ones that together weigh as much. With few equal
steps, as many as the maximum takes, all of the small ones are code 0 and what they carry is lost. Regions of ratio
2^m reach both ends; the codes stay whole numbers that the matmul behind reads, and their sum is exact as before.
"""

import torch

from mptq_export.quantize.activations.opt_m import layouts
from mptq_export.quantize.simulation.fake_quantize import steps
from mptq_export.recipe.schema import ActivationQuant

#: The largest code: a product of two of them fits int16 for the kernel that adds pairs.
LARGEST = 127

#: The widest codes that get regions: more have equal steps that are fine enough.
WIDEST = 6

#: Rows that layouts are measured on.
_ROWS = 384

#: Spreads them over all rows: the golden ratio.
_STRIDE = 0.6180339887498949


def drawn_rows(value: torch.Tensor) -> torch.Tensor:
    """Some rows, spread over all images, heads and tokens: float32 [n, T] from [..., T]."""
    rows = value.reshape(-1, value.shape[-1])
    if len(rows) <= _ROWS:
        return rows
    places = (torch.arange(_ROWS, dtype=torch.float64) * _STRIDE).frac() * len(rows)
    return rows[places.long().to(rows.device)]


def best_levels(rows: torch.Tensor, bits: int, reason: str) -> list[ActivationQuant]:
    """Quantizers of attention codes, the best first: by the squared error of the weights, each row divided by its sum.

    The values that are weighted are centred (`transform/balance_attention.py`) and differ from token to token, so that
    an output's error goes by that.

    Args:
        rows: float32 [n, T], `exp(score - maximum)`.
        bits: 2 to 8.
        reason: of equal steps.
    """
    high = 2**bits - 1
    plain = ActivationQuant(1.0 / high, 0, 0, high, bits, reason)
    if bits > WIDEST:
        return [plain]
    found = [plain]
    for zero, regions in layouts(high):
        last = regions[-1].last
        if zero == 0 and len(regions) > 1 and last <= LARGEST:
            text = f"{reason}; OPT-m: levels with the smallest error of the weights"
            found.append(ActivationQuant(1.0 / last, 0, 0, last, bits, text, regions))
    exact = rows.double()
    exact = exact / exact.sum(-1, keepdim=True)

    def error(quant: ActivationQuant) -> float:
        codes = steps(rows, quant).double()
        return float((codes / codes.sum(-1, keepdim=True) - exact).square().sum())

    return sorted(found, key=error)
