"""Quantize and dequantize in torch: the numbers that the emitted graph computes with."""

import torch

from mptq_export.recipe.schema import ActivationQuant

#: Elements that are worked on at once.
CHUNK = 1 << 22


def codes(x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
    """Codes of a tensor on the fine grid.

    Args:
        x: float32, any shape.
        quant: its quantizer.

    Returns:
        Whole numbers in [quant.low, quant.high] as float32, same shape: the nearest level of every element. In a region
        of scale ratio `2 ** m` the levels are `zero_point + (k << m)`.
    """
    steps = (x / quant.scale).contiguous()
    if not quant.regions:
        return steps.round_().add_(quant.zero_point).clamp_(quant.low, quant.high)
    # In place, a few million elements at a time: a sum over regions would hold three more copies of the tensor.
    for part in torch.split(steps.view(-1), CHUNK):
        start, total = quant.low, torch.full_like(part, quant.low)
        for region in quant.regions:
            unit = 1 << region.shift
            first, last = (start - quant.zero_point) // unit, (region.last - quant.zero_point) // unit
            total += (part / unit).round_().clamp_(first, last).sub_(first).mul_(unit)
            start = region.last
        part.copy_(total)
    return steps


def fake_quantize(x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
    """The value that a matmul sees: `(code - zero_point) * scale`."""
    return codes(x, quant).sub_(quant.zero_point).mul_(quant.scale)
