"""Quantize and dequantize in torch: the numbers that the emitted graph computes with."""

import torch

from mptq_export.recipe.schema import ActivationQuant

#: Elements that are worked on at once.
CHUNK = 1 << 22


def steps(x: torch.Tensor, quant: ActivationQuant, *, chunk: int = CHUNK) -> torch.Tensor:
    """Whole steps of a tensor from the zero point, on the fine grid.

    Args:
        x: float32, any shape.
        quant: its quantizer.
        chunk: elements that are worked on at once.

    Returns:
        Whole numbers in [quant.low, quant.high] - quant.zero_point as float32, same shape, a tensor of its own: the
        nearest level of every element. In a region of scale ratio `2 ** m` the levels are `k << m`.
    """
    found = (x / quant.scale).contiguous()
    zero = quant.zero_point
    if not quant.regions:
        return found.round_().clamp_(quant.low - zero, quant.high - zero)
    # In place, a few million elements at a time: a sum over regions would hold three more copies of the tensor.
    runs = quant.runs()
    for some in torch.split(found.view(-1), chunk):
        total = torch.full_like(some, quant.low - zero)
        for run in runs:
            total += (some / run.unit).round_().clamp_(run.first, run.last).sub_(run.first).mul_(run.unit)
        some.copy_(total)
    return found


def codes(x: torch.Tensor, quant: ActivationQuant, *, chunk: int = CHUNK) -> torch.Tensor:
    """Codes of a tensor: whole numbers in [quant.low, quant.high] as float32, arguments as for `steps`."""
    return steps(x, quant, chunk=chunk).add_(quant.zero_point)


def fake_quantize(x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
    """The value that a matmul sees: `(code - zero_point) * scale`."""
    return steps(x, quant).mul_(quant.scale)
