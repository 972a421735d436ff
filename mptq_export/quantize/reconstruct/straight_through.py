"""Rounding that gradients pass: straight through inside the range, and to the scale and the zero point (LSQ).

Learned step sizes as in LSQ (arXiv 1902.08153) and LSQ+ (arXiv 2004.09576): with v = x / s, q the level of v and
[low, high] the ends of the levels, all without the zero point,

    d(s q) / dx = 1 inside, 0 outside    d(s q) / ds = q - v inside, q outside    d(s q) / dz = 0 inside, -s outside
"""

from dataclasses import replace
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
    found: torch.Tensor = _WholeSteps.apply(x, quant)
    return found


def whole(x: torch.Tensor) -> torch.Tensor:
    """The nearest whole numbers, half to even; gradients pass."""
    return x + (x.round() - x).detach()


class _FakeQuantize(torch.autograd.Function):
    """See the head of the file; kept are the part of the scale's derivative and where x is inside."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, quant: ActivationQuant
    ) -> torch.Tensor:
        point = float(zero.round())
        low, high = quant.low - point, quant.high - point
        position = x / scale
        inside = (position >= low) & (position <= high)
        level = steps(x, replace(quant, scale=float(scale))) if quant.regions else position.round().clamp_(low, high)
        ctx.save_for_backward(level - position.mul_(inside), inside, scale)
        return level.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        (gradient,), (slope, inside, scale) = gradients, ctx.saved_tensors
        at_x = gradient * inside
        at_scale = (gradient * slope).sum()
        at_zero = (at_x.sum() - gradient.sum()) * scale
        return at_x, at_scale, at_zero, None


class _WholeSteps(torch.autograd.Function):
    """The same for a quantizer that stands, without its scale."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
        low, high = ((end - quant.zero_point) * quant.scale for end in (quant.low, quant.high))
        ctx.save_for_backward((x >= low) & (x <= high))
        ctx.scale = quant.scale
        return steps(x, quant)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,), (inside,) = gradients, ctx.saved_tensors
        return (gradient * inside).div_(ctx.scale), None
