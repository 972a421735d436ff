"""What is learned of a block, as tensors that gradient descent moves: weights, biases, activation quantizers, SQ-b.

Every tensor starts at what the recipe says and is in a unit of its own, so that one step size suits all of a kind:
codes, shares of a scale, steps of an accumulator's or a site's scale.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from mptq_export.capture.evaluate import weight_matrix
from mptq_export.capture.graph import Node
from mptq_export.quantize.reconstruct.straight_through import fake_quantize, whole
from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.level_codes import nearest_levels, outlier_mask
from mptq_export.quantize.weights.quantize_weight import BIAS_STEPS, short_scales
from mptq_export.recipe.schema import ActivationQuant, SqB, WeightQuant

#: How much of a float weight's fraction a latent weight keeps; the rest keeps it off the boundary to the next code.
_FRACTION = 0.9

#: Activations of so many bits and more are only cut at the ends of their range: what their rounding costs is no matter.
WIDE_ENOUGH = 7


class LearnedWeight:
    """Codes, scales and bias of one layer.

    A latent weight, in codes, is rounded to its code. It starts at the recipe's code plus what of the fraction of the
    float weight behind it still rounds to that code. Where the gain and the offset of the layer norm in front are
    learned, latent weight and bias follow them, so that these move what is rounded and not the function. Outliers
    of weights with regions stand, and so do all codes of 8 bits, whose neighbours have a common limit.

    Attributes:
        latent: float32 [N, K], in mean distances of two levels: codes where there are no regions.
        log_scale: float32 [N], of the scale's share of the recipe's.
        bias: float32 [N], in standard deviations of the block's target.
        norm: the layer norm in front whose gain and offset are learned; None where there is none.
    """

    def __init__(self, quant: WeightQuant, node: Node, spread: float) -> None:
        """Start at the recipe.

        Args:
            quant: of the recipe.
            node: the layer, with its float weight behind all transforms.
            spread: standard deviation of the block's target.
        """
        device = node.params["weight"].device
        self._quant, self._spread = quant, spread
        self._codes = torch.from_numpy(quant.codes).to(device).float()
        self._scale = torch.from_numpy(quant.scale).to(device)
        self._levels = _levels(quant, device)
        self._unit = float(self._levels[-1] - self._levels[0]) / (len(self._levels) - 1)
        self._fixed = outlier_mask(quant, device)
        gap = weight_matrix(node).float() / self._scale[:, None] - self._codes
        low, high = self._cell()
        self.latent = (self._codes + _FRACTION * gap.clamp_(low, high)) / self._unit
        self.log_scale = torch.zeros_like(self._scale)
        self._bias = torch.from_numpy(quant.bias).to(device)
        self.bias = torch.zeros_like(self._bias)
        self.norm: LearnedNorm | None = None

    @property
    def rounds(self) -> bool:
        """Whether codes and scales are learned, not the bias alone."""
        return self._quant.bits < 8

    def weight(self) -> torch.Tensor:
        """The weight as it will be computed with, [N, K]."""
        return self._rounded() * (self._scale * self.log_scale.exp())[:, None]

    def offset(self) -> torch.Tensor:
        """The bias, [N]."""
        found = self._bias + self.bias * self._spread
        if self.norm is not None:
            found = found - self.weight().detach() @ (self.norm.offset * self.norm.unit)
        return found

    def finished(self, input_scale: float) -> WeightQuant:
        """The layer as a file stores it: whole codes, short scales, whole steps of the accumulator.

        Args:
            input_scale: scale of what the layer reads.
        """
        with torch.no_grad():
            scale = short_scales(self._scale * self.log_scale.exp()) if self.rounds else self._scale
            step = scale.double() * input_scale
            bias = (self.offset().double() / step).round().clamp(-BIAS_STEPS, BIAS_STEPS) * step
            return replace(
                self._quant,
                codes=self._rounded().to(torch.int8).cpu().numpy(),
                scale=scale.cpu().numpy(),
                bias=bias.float().cpu().numpy(),
            )

    def _rounded(self) -> torch.Tensor:
        latent = self.latent if self.norm is None else self.latent * (-self.norm.log_gain).exp()
        inside = (latent * self._unit).clamp(float(self._levels[0]), float(self._levels[-1]))
        if self._quant.regions is None:
            return whole(inside)
        level = nearest_levels(inside.detach(), self._quant)
        return torch.where(self._fixed, self._codes, inside + (level - inside.detach()))

    def _cell(self) -> tuple[torch.Tensor, torch.Tensor]:
        """How far below and above its code a latent weight has that code, [N, K] each."""
        middle = (self._levels[1:] + self._levels[:-1]) / 2
        ends = torch.cat([self._levels[:1] - self._unit / 2, middle, self._levels[-1:] + self._unit / 2])
        place = torch.bucketize(self._codes, middle, right=True)
        return ends[place] - self._codes, ends[place + 1] - self._codes


def _levels(quant: WeightQuant, device: torch.device) -> torch.Tensor:
    """The codes that weights may be rounded to, outliers left aside, from the lowest."""
    if quant.regions is not None:
        return torch.tensor(quant.regions.levels, dtype=torch.float32, device=device)
    code_range = CodeRange.of(quant.bits, quant.form)
    return torch.arange(code_range.low, code_range.high + 1, dtype=torch.float32, device=device)


class LearnedSite:
    """The quantizer of one activation, or of several operands that read one value at one width.

    Attributes:
        log_scale: float32 scalar, of the scale's share of the recipe's.
        zero: float32 scalar, the zero point.
    """

    def __init__(self, quant: ActivationQuant, device: torch.device) -> None:
        """Start at the recipe."""
        self.quant = quant
        self.log_scale = torch.zeros((), device=device)
        self.zero = torch.tensor(float(quant.zero_point), device=device)

    def fake_quantize(self, x: torch.Tensor) -> torch.Tensor:
        """What a matmul sees."""
        return fake_quantize(x, self.quant.scale * self.log_scale.exp(), self.zero, self.quant)

    def finished(self) -> ActivationQuant:
        """The quantizer as a recipe has it; what is certified must be certified again."""
        scale = float(np.float32(self.quant.scale * float(self.log_scale.detach().double().exp())))
        zero = int(min(max(float(self.zero.detach().round()), self.quant.low), self.quant.high))
        return replace(self.quant, scale=scale, zero_point=zero)


@dataclass
class LearnedNorm:
    """SQ-b of one layer norm: gain and offset of every channel; the weights behind need not undo them.

    Attributes:
        norm: as it is folded so far.
        sq_b: of the recipe.
        unit: scale of what reads it.
        log_gain: float32 [D], of the gain's share of the folded one.
        offset: float32 [D], in units, added to the folded one.
    """

    norm: Node
    sq_b: SqB
    unit: float
    log_gain: torch.Tensor
    offset: torch.Tensor

    @staticmethod
    def of(norm: Node, sq_b: SqB, unit: float) -> "LearnedNorm":
        """Start at the recipe."""
        gain = norm.params["weight"]
        return LearnedNorm(norm, sq_b, unit, torch.zeros_like(gain).float(), torch.zeros_like(gain).float())

    def node(self) -> Node:
        """The layer norm with what was learned, float32."""
        gain, offset = self.norm.params["weight"].float(), self.norm.params["bias"].float()
        params = {"weight": gain * self.log_gain.exp(), "bias": offset + self.offset * self.unit}
        return replace(self.norm, params=params)

    def finished(self) -> SqB:
        """SQ-b as a recipe has it.

        `gamma' = gamma / s` and `beta' = (beta - b) / s` are folded. With the gain times c and the offset plus o they
        are those of `s' = s / c` and `b' = beta - s' (beta' + o)`, where `beta = s beta' + b`.
        """
        offset = self.norm.params["bias"].double().cpu().numpy()
        scale = self.sq_b.scale * np.exp(-self.log_gain.detach().double().cpu().numpy())
        moved = offset + self.offset.detach().double().cpu().numpy() * self.unit
        shift = self.sq_b.scale * offset + self.sq_b.shift - scale * moved
        return replace(self.sq_b, shift=shift, scale=scale)
