"""One weight to codes: with levels and outliers, or as whole numbers of its width."""

from dataclasses import dataclass

import torch

from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.quantize_weight import quantize_weight
from mptq_export.quantize.weights.weight_regions import quantize_in_regions
from mptq_export.recipe.schema import CodeForm, WeightRegions


@dataclass(frozen=True)
class RoundedWeight:
    """A weight as codes.

    Attributes:
        codes: whole numbers as float32, [N, K].
        scale: float32 [N].
        regions: of the codes; None where all whole numbers of the width are codes.
        reason: how scales and regions were found.
        compensated: whether errors were moved to other columns.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    regions: WeightRegions | None
    reason: str
    compensated: bool


@dataclass(frozen=True)
class WeightRounding:
    """What is rounded, and how.

    Attributes:
        weight: [N, K].
        bits: 2 to 8.
        hessian: of what the layer reads; None where nothing is measured.
        smallest_scale: no scale is smaller, [N].
        search_scales: whether scales go by the error, instead of min/max.
        gptq: whether errors are moved to other columns.
        in_regions: whether there are levels by density and outliers; these need both.
        form: which codes of 8 bits there may be.
    """

    weight: torch.Tensor
    bits: int
    hessian: Hessian | None
    smallest_scale: torch.Tensor
    search_scales: bool
    gptq: bool
    in_regions: bool
    form: CodeForm

    def round(self) -> RoundedWeight:
        """The codes."""
        if self.in_regions and self.hessian is not None:
            found = quantize_in_regions(self.weight, self.bits, self.hessian, smallest_scale=self.smallest_scale)
            reason = f"scales by error; {found.reason}"
            return RoundedWeight(found.codes, found.scale, found.regions, reason, self.gptq)
        codes, scale = quantize_weight(
            self.weight,
            self.bits,
            self.hessian,
            smallest_scale=self.smallest_scale,
            search_scales=self.search_scales,
            gptq=self.gptq,
            form=self.form,
        )
        reason = "scales by error" if self.search_scales else "min/max scales"
        return RoundedWeight(codes, scale, None, reason, self.gptq)
