"""When a result of another runtime is wrong, and not just rounded otherwise.

No two runtimes give the same bits for a portable file: sums are scaled and rounded in other places, so that codes
differ by a step here and there, and later layers carry that on. What comes out differs from the file as it is written
about as much as that differs from the float model: 20 to 30 dB for 8 bits. A kernel that computes something else is far
away from that: the signed softmax of Qualcomm's HTP leaves -3 dB and no top-1, tract's quantized softmax two top-1 of
ten. The limits below lie between the two. Each is on its own enough.
"""

from collections.abc import Sequence

from mptq_export.evaluate.metrics import share_interval
from mptq_export.verify.elsewhere.closeness import Closeness

LEAST_SQNR_DB = 10.0
"""A tenth of the signal's power may be difference."""

MOST_KL = 0.1
"""Nats between the classes of the file as written and those found, on average."""

KL_FACTOR = 4.0
"""Or so many times what the file as written is away from the float model, where that is more."""

LEAST_AGREEMENT = 0.9
"""Share of top-1 that is equal on images, at the upper end of its 95 % interval: few images prove little."""


def wrong(output: str, beside: Closeness, float_kl: float | None, *, images: bool) -> Sequence[str]:
    """Why an output is wrong, a sentence each; nothing where it is right.

    Args:
        output: its name.
        beside: the output found, beside that of the file as written.
        float_kl: mean KL of the file as written to the float model; None where that is not known.
        images: whether the inputs are images; made-up inputs look alike to a classifier, so that its top-1 says little.
    """
    if not beside.finite:
        return (f"{output} holds values that are no numbers",)
    found = []
    if beside.sqnr_db is not None and beside.sqnr_db < LEAST_SQNR_DB:
        found.append(
            f"{output} is {beside.sqnr_db:.1f} dB from what the file says (rounding alone leaves more than "
            f"{LEAST_SQNR_DB:.0f})"
        )
    most = max(MOST_KL, KL_FACTOR * (float_kl or 0.0))
    if beside.mean_kl is not None and beside.mean_kl > most:
        found.append(
            f"{output} names other classes: KL {beside.mean_kl:.3g} from what the file says (at most {most:.3g})"
        )
    if images and beside.agreement is not None:
        equal = round(beside.agreement * beside.inputs)
        if share_interval(equal, beside.inputs)[1] < LEAST_AGREEMENT:
            found.append(f"{output}: top-1 is that of the file for {equal} of {beside.inputs} images")
    return found
