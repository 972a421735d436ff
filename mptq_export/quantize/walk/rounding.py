"""Rounding a weight at a width, apart from the walk: all that it needs, so that any process can do it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.quantize_weight import quantize_weight
from mptq_export.quantize.weights.weight_regions import quantize_in_regions
from mptq_export.recipe.schema import CodeForm, WeightRegions
from mptq_export.support.processes.group import Alone, Group, Seat


@dataclass(frozen=True)
class Rounded:
    """A weight as codes.

    Attributes:
        codes: whole numbers as float32, [N, K].
        scale: float32 [N].
        regions: those of its codes, if it has any.
        reason: why it has them, or "".
    """

    codes: torch.Tensor
    scale: torch.Tensor
    regions: WeightRegions | None = None
    reason: str = ""


@dataclass(frozen=True)
class Rounding:
    """A weight that is to be rounded, and how; what is not said here is as in `quantize_weight`.

    Attributes:
        weight: [N, K].
        bits: 2 to 8.
        hessian: of what the layer reads; None where nothing is measured.
        smallest_scale: [N].
        search_scales: whether scales go by the error.
        gptq: whether rounding errors move to other columns.
        form: which codes of 8 bits there may be.
        in_regions: whether codes have regions.
    """

    weight: torch.Tensor
    bits: int
    hessian: Hessian | None
    smallest_scale: torch.Tensor
    search_scales: bool
    gptq: bool
    form: CodeForm
    in_regions: bool

    def rounded(self) -> Rounded:
        """The codes."""
        if self.in_regions and self.hessian is not None:
            found = quantize_in_regions(self.weight, self.bits, self.hessian, smallest_scale=self.smallest_scale)
            return Rounded(found.codes, found.scale, found.regions, found.reason)
        codes, scale = quantize_weight(
            self.weight,
            self.bits,
            self.hessian,
            smallest_scale=self.smallest_scale,
            search_scales=self.search_scales,
            gptq=self.gptq,
            form=self.form,
        )
        return Rounded(codes, scale)


def rounded_by(group: Group | None, roundings: Sequence[Rounding]) -> list[Rounded]:
    """The codes of several weights.

    Args:
        group: processes that share them; None: this one alone.
        roundings: independent of each other.
    """
    return [rounded for share in (group or Alone()).call(_share, roundings) for rounded in share]


def _share(seat: Seat, roundings: Sequence[Rounding]) -> list[Rounded]:
    with torch.no_grad():
        return [rounding.rounded() for rounding in seat.share(roundings)]
