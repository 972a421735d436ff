"""Whether values can be pixels that were normalised as a model wants them.

A pixel in 0..1 becomes ``(x - mean) / std``: it lies between ``-mean / std`` (black) and ``(1 - mean) / std`` (white).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError

Channels = NDArray[np.float64]
"""One value a channel."""

_OUTSIDE = 0.1
"""Resampled floats overshoot black and white by some percent; more than this share of the range is something else."""
_TOUCHES = 0.01
"""Natural images reach black and white: a set of them that does so to this share of a range was scaled to it."""


@dataclass(frozen=True)
class _Scale:
    """A way in which people scale pixels: ``(x / top - mean) / std`` for x from 0 to `top`."""

    text: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def bounds(self, channels: int) -> tuple[Channels, Channels]:
        """What black and white become, one value a channel."""
        mean, std = (np.resize(np.array(values), channels) for values in (self.mean, self.std))
        return -mean / std, (1 - mean) / std


_SCALES = (
    _Scale("pixels of 0..255 that were not normalised", (0.0,), (1 / 255,)),
    _Scale("pixels of 0..1 that were not normalised", (0.0,), (1.0,)),
    _Scale("pixels of -1..1, normalised with mean 0.5 and std 0.5", (0.5,), (0.5,)),
    _Scale("pixels normalised with ImageNet's mean and std", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    _Scale(
        "pixels normalised with CLIP's mean and std",
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
    _Scale("pixels of 0..255 less ImageNet's mean", (0.485, 0.456, 0.406), (1 / 255,)),
)


def check_range(what: str, low: Channels, high: Channels, preprocessing: Preprocessing) -> None:
    """Refuse inputs that were not normalised, or with another mean and std.

    Args:
        what: the inputs, for the message.
        low: (channels,) smallest value of each channel over all inputs.
        high: (channels,) largest value.
        preprocessing: the model's.

    Raises:
        MptqError: they leave the range of a normalised pixel, or fill that of another normalisation.
    """
    problem = range_problem(what, low, high, preprocessing)
    if problem is not None:
        raise MptqError(
            f"{problem}; save (x / 255 - mean) / std, give a folder of images, or pass --any-range if these are no "
            "pixels"
        )


def range_problem(what: str, low: Channels, high: Channels, preprocessing: Preprocessing) -> str | None:
    """Why inputs cannot be pixels that were normalised as the model wants them; None where they can.

    The arguments are those of `check_range`.
    """
    black, white = _Scale("", preprocessing.mean, preprocessing.std).bounds(len(low))
    slack = _OUTSIDE * (white - black)
    outside = bool((low < black - slack).any() or (high > white + slack).any())
    likely = None if _fills(low, high, black, white) else _likely(low, high)
    if likely is None and (black < -_OUTSIDE).all() and _within(low, high, 1):
        likely = _SCALES[1].text  # no pixel darker than the mean
    if likely is None and not outside:
        return None
    if likely is None and _within(low, high, 255):
        likely = _SCALES[0].text
    cause = f": these look like {likely}" if likely else ""
    return (
        f"{what} holds values from {low.min():.4g} to {high.max():.4g}, a pixel normalised with the model's mean "
        f"{preprocessing.mean} and std {preprocessing.std} lies from {black.min():.4g} to {white.max():.4g}{cause}"
    )


def _within(low: Channels, high: Channels, top: float) -> bool:
    """Whether values that differ all lie in 0..top."""
    return bool((low >= 0).all() and (high <= top).all() and (low < high).any())


def _likely(low: Channels, high: Channels) -> str | None:
    """The scale whose black and white the values reach in every channel."""
    for scale in _SCALES:
        if _fills(low, high, *scale.bounds(len(low))):
            return scale.text
    return None


def _fills(low: Channels, high: Channels, black: Channels, white: Channels) -> bool:
    near = _TOUCHES * (white - black)
    return bool((np.abs(low - black) <= near).all() and (np.abs(high - white) <= near).all())
