"""How far outputs were apart, and how far they may be: what the list of a kit holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Apart:
    """How far apart two outputs of one input are.

    Attributes:
        rms: root of the mean square of the difference; of logits without its mean over the classes, which no softmax
            sees.
        kl: KL(golden || found) of the softmax of logits, in nats; None of other outputs.
    """

    rms: float
    kl: float | None


@dataclass(frozen=True)
class Spread:
    """The largest differences from the golden output, over the golden inputs.

    Attributes:
        default: onnxruntime's CPU provider with its default options.
        nudged: the file with nudged codes.
    """

    default: Apart
    nudged: Apart


@dataclass(frozen=True)
class Tolerance:
    """What one output must keep on every golden input.

    Attributes:
        rms: at most so far, as `Apart.rms`.
        kl: at most so far apart; None of outputs that are no logits.
        lead: where the golden output's largest logit leads by more, the same one must be the largest; None of outputs
            that are no logits.
    """

    rms: float
    kl: float | None
    lead: float | None
