"""Which techniques an export uses; what each brings is measured in docs/method.md."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """Switches of the quantizer search. All off is plain min/max rounding.

    Attributes:
        smoothing: SQ-b at every layer norm: `off`, `range` (the paper's min/max of every channel) or `error` (the range
            of every channel with the smallest error); the strength is searched in both.
        regions: OPT-m for values after GELU.
        balance: q against k, and v against the projection, a head at a time.
        clipping: ranges of activations by the error of what reads them.
        weight_scale: scales of weights by their error.
        rounding: error-compensated rounding of weights.
        correction: weights refitted to the quantized inputs (ridge regression).
        bias: biases that cancel the mean error of every channel.
        residual: layers that write the residual also correct the error it has already.
        importance: rows count by how much the logits depend on them, instead of alike.
    """

    smoothing: str = "off"
    regions: bool = False
    balance: bool = False
    clipping: bool = False
    weight_scale: bool = False
    rounding: bool = False
    correction: bool = False
    bias: bool = False
    residual: bool = False
    importance: bool = False

    @property
    def measures_inputs(self) -> bool:
        """Whether weights are chosen with the moments of their inputs."""
        return self.weight_scale or self.rounding or self.correction or self.bias


MINMAX = Method()

#: MPTQ-ViT as published, without its mixed precision.
PAPER = Method(smoothing="range", regions=True)

BEST = Method(
    smoothing="error",
    regions=True,
    balance=True,
    clipping=True,
    weight_scale=True,
    rounding=True,
    correction=True,
    bias=True,
    residual=True,
    importance=True,
)

METHODS = {"paper": PAPER, "best": BEST}
