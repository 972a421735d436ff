"""Rounding that gradients pass: straight through inside the range, and to the scale and the zero point (LSQ).

Learned step sizes as in LSQ (arXiv 1902.08153) and LSQ+ (arXiv 2004.09576): with v = x / s, q the level of v and
[low, high] the ends of the levels, all without the zero point,

    d(s q) / dx = 1 inside, 0 outside    d(s q) / ds = q - v inside, q outside    d(s q) / dz = 0 inside, -s outside
"""

from typing import Any

import torch

from mptq_export.quantize.simulation.fake_quantize import steps
from mptq_export.recipe.schema import ActivationQuant


def fake_quantize(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
    """What a matmul sees of an operand, with gradients.

    Args:
        x: float32, any shape.
        scale: float32 scalar, s.
        zero: float32 scalar, z; it counts as the nearest whole number.
        quant: gives the ends, the regions and the width.

    Returns:
        `(code - z) * s`, same shape.
    """
    found: torch.Tensor = _FakeQuantize.apply(x, scale, zero, quant)
    return found


def whole_steps(x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
    """Codes without their zero point, in [quant.low, quant.high] - quant.zero_point; the quantizer itself stands."""
    smooth = (x / quant.scale).clamp(quant.low - quant.zero_point, quant.high - quant.zero_point)
    return smooth + (steps(x.detach(), quant) - smooth.detach())


def whole(x: torch.Tensor) -> torch.Tensor:
    """The nearest whole numbers, half to even; gradients pass."""
    return x + (x.round() - x).detach()


class _FakeQuantize(torch.autograd.Function):
    """See the head of the file."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, quant: ActivationQuant
    ) -> torch.Tensor:
        point = float(zero.round())
        low, high = quant.low - point, quant.high - point
        position = x / scale
        level = steps(x, _at(quant, float(scale))) if quant.regions else position.round().clamp_(low, high)
        ctx.save_for_backward(position, level, scale)
        ctx.ends = low, high
        return level * scale

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        (gradient,), (position, level, scale), (low, high) = gradients, ctx.saved_tensors, ctx.ends
        inside = gradient * ((position >= low) & (position <= high))
        at_scale = torch.dot(gradient.reshape(-1), level.reshape(-1)) - torch.dot(
            inside.reshape(-1), position.reshape(-1)
        )
        at_zero = (inside.sum() - gradient.sum()) * scale
        return inside, at_scale.reshape(scale.shape), at_zero.reshape(scale.shape), None


def _at(quant: ActivationQuant, scale: float) -> ActivationQuant:
    return ActivationQuant(scale, quant.zero_point, quant.low, quant.high, quant.bits, regions=quant.regions)
