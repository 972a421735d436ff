"""Numbers that someone prepared already: of which type and size they must be, and which values they have."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError

Floats = NDArray[np.floating[Any]]


class SeenRange:
    """The smallest and largest value of every channel so far.

    Attributes:
        low: (channels,) float64.
        high: (channels,).
        count: how many inputs were seen.
    """

    def __init__(self, channels: int) -> None:
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.count = 0

    def look(self, values: Floats, what: str) -> None:
        """Take (inputs, channels, height, width) values into account.

        Raises:
            MptqError: one is not finite.
        """
        # A NaN or Inf shows in one of the two: what comes from disk is looked through twice, not three times.
        self.low = np.minimum(self.low, values.min(axis=(0, 2, 3)))
        self.high = np.maximum(self.high, values.max(axis=(0, 2, 3)))
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all()):
            finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
            raise MptqError(f"{what}: input {self.count + int(np.argmin(finite))} holds NaN or Inf; leave it out")
        self.count += len(values)


def check_size(values: NDArray[Any], what: str, preprocessing: Preprocessing, advice: str | None = None) -> None:
    """Refuse values that are not of the shape and type of the model's input.

    Args:
        values: should be (inputs, channels, height, width) of a float type.
        what: they are, for the message.
        preprocessing: the model's.
        advice: what to do about another shape, where that is known.

    Raises:
        MptqError: they are something else.
    """
    size = preprocessing.input_size
    if values.ndim != 4 or values.shape[1:] != size or len(values) == 0:
        advice = advice or _shape_advice(values.shape, size)
        wanted = ", ".join(map(str, size))
        raise MptqError(f"{what} has shape {list(values.shape)}, the model takes [inputs, {wanted}]; {advice}")
    if not np.issubdtype(values.dtype, np.floating):
        raise MptqError(
            f"{what} holds {values.dtype}, not floats; save normalised inputs, (x / 255 - mean) / std with mean "
            f"{preprocessing.mean} and std {preprocessing.std}, or give a folder of images"
        )


def as_numbers(given: Any, what: str) -> NDArray[Any]:
    """An array or tensor of any library, on any device, as a NumPy array.

    Args:
        given: has NumPy's `__array__`, or is a tensor of torch.
        what: it is, for the message.

    Raises:
        MptqError: it is neither.
    """
    if hasattr(given, "detach"):  # torch, which this room does not import
        given = given.detach().cpu()
        if given.is_floating_point():  # bfloat16, which NumPy lacks
            given = given.float()
        return np.asarray(given.numpy())
    if isinstance(given, np.ndarray | np.generic) or hasattr(given, "__array__"):
        return np.asarray(given)
    raise MptqError(f"{what} a {type(given).__name__}; it must be an array or a tensor of floats")


def _shape_advice(shape: tuple[int, ...], size: tuple[int, int, int]) -> str:
    channels, height, width = size
    if 0 in shape:
        return "it is empty: save at least one input"
    if shape[1:] == (height, width, channels):
        return "the channels are last: save x.transpose(0, 3, 1, 2)"
    if shape == size:
        return "it is one input: save x[None]"
    if len(shape) == 4 and shape[1] == channels:
        return "resize the images to the model's size, or pass --img-size"
    return "preprocess the images for this model"
