"""Which techniques an export uses; what each brings is measured in docs/method.md."""

from dataclasses import dataclass
from typing import Literal

from mptq_export.recipe.settings import MethodName

SqBRanges = Literal["off", "range", "error"]
"""How SQ-b finds the range of every channel: not at all, by its min/max, or by the error."""


@dataclass(frozen=True)
class Method:
    """Switches of the quantizer search. All off is plain min/max rounding.

    Attributes:
        sq_b: SQ-b at every layer norm: `off`, `range` (the paper's min/max per channel) or `error` (per channel, the
            range with the smallest error); the strength is searched in both.
        opt_m: OPT-m: regions of scale ratio 2^m for values after an activation function.
        balanced_attention: q against k, and v against the projection, per head.
        ranges_by_error: ranges of activations by the error of what reads them, instead of min/max.
        weight_scales_by_error: scales of weights by their error, instead of min/max.
        gptq: error-compensated rounding of weights.
        ridge_correction: weights refitted to the quantized inputs (ridge regression).
        bias_correction: biases that cancel the mean error per channel.
        residual_correction: layers that write the residual also correct the error that it has already.
        row_importance: rows count by how much the outputs depend on them, instead of alike.
        rotated_residual: in the portable form: the residual's channels are mixed, where that pays.
        weight_regions: in the exact form: OPT-m for weights of so many bits and fewer, 4 at most (0: none): levels that
            are not evenly spaced, and outliers; with `weight_scales_by_error` and `gptq` alone.
        centred_codes: in the exact form: layer norm outputs and values of attention are moved by half a step, so that
            the middle of their codes is the middle of what they are.
        attention_ranges: ranges of queries, keys and values by the error of the attention instead of their own.
        attention_levels: attention codes of few bits have the levels with the smallest error of the weights (OPT-m).
    """

    sq_b: SqBRanges = "off"
    opt_m: bool = False
    balanced_attention: bool = False
    ranges_by_error: bool = False
    weight_scales_by_error: bool = False
    gptq: bool = False
    ridge_correction: bool = False
    bias_correction: bool = False
    residual_correction: bool = False
    row_importance: bool = False
    rotated_residual: bool = False
    weight_regions: int = 0
    centred_codes: bool = False
    attention_ranges: bool = False
    attention_levels: bool = False

    @property
    def measures_inputs(self) -> bool:
        """Whether weights are chosen with the moments of their inputs."""
        return self.weight_scales_by_error or self.gptq or self.ridge_correction or self.bias_correction


#: What every quantizer does, to compare with.
MINMAX = Method()

#: MPTQ-ViT as published, without its mixed precision.
PAPER = Method(sq_b="range", opt_m=True)

BEST = Method(
    sq_b="error",
    opt_m=True,
    balanced_attention=True,
    ranges_by_error=True,
    weight_scales_by_error=True,
    gptq=True,
    ridge_correction=True,
    bias_correction=True,
    residual_correction=True,
    row_importance=True,
    rotated_residual=True,
    weight_regions=4,
    centred_codes=True,
    attention_ranges=True,
    attention_levels=True,
)

METHODS: dict[MethodName, Method] = {"minmax": MINMAX, "paper": PAPER, "best": BEST}
