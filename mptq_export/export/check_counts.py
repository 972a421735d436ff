"""How many inputs an export checks its file on.

That follows from the multiply-accumulates of the model and from the images that it was calibrated on, never from a
clock: the same export runs the same inputs on every machine, and the check stays below a fifth of it.
"""

from mptq_export.verify.inputs.sets import CONSTANT, EXTREME, RANDOM

#: Pictures of a whole check.
IMAGES = 16

#: Inputs of the smallest check.
FEWEST = 8

#: Inputs that may be checked for a calibration image, by method: it takes four times as long as they do.
_PER_IMAGE = {"minmax": 0.75, "paper": 0.75, "best": 1.5}

#: Multiply-accumulates whose check is a fifth of what every export begins and ends with. Both were measured, with
#: `tools/bench/check_share.py`.
_FIXED = 5e9


def check_counts(macs: int, calibrated: int, method: str) -> dict[str, int]:
    """How many inputs of each kind.

    Args:
        macs: multiply-accumulates of one image.
        calibrated: images that the export was calibrated on; 0 for one from a recipe.
        method: that it was quantized with.
    """
    whole = {"images": IMAGES, "random": RANDOM, "constant": CONSTANT, "extreme": EXTREME}
    affordable = max(FEWEST, _PER_IMAGE[method] * calibrated + _FIXED / max(macs, 1))
    share = min(1.0, affordable / sum(whole.values()))
    return {kind: max(1, round(count * share)) for kind, count in whole.items()}
