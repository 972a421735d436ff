"""Model inputs that someone preprocessed already, in a NumPy file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.pixel_range import check_range
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError

ARRAY_SUFFIXES = (".npy", ".npz")

_KEY = "images"
_CHECKED_AT_ONCE = 64


@dataclass(frozen=True)
class ArrayInputs:
    """Inputs out of a file.

    Attributes:
        values: (inputs, channels, height, width) of a float type.
        name: of the array that was taken, where the file names its arrays.
        others: names of the arrays that were not.
    """

    values: NDArray[np.floating[Any]]
    name: str | None = None
    others: tuple[str, ...] = ()


def open_inputs(path: Path, preprocessing: Preprocessing, *, any_range: bool = False) -> ArrayInputs:
    """Open model inputs and check them.

    Args:
        path: an ``.npy``, which stays on disk, or an ``.npz`` whose array `images`, or else first array, is taken.
        preprocessing: the model's; its mean and std bound what a pixel can be.
        any_range: take values that are no normalised pixels.

    Raises:
        MptqError: the file is missing, unreadable, holds Python objects, holds no finite floats of the model's shape,
            or values that cannot be pixels normalised as the model wants them.
    """
    if not path.is_file():
        raise MptqError(f"calibration file {path} does not exist; check the path")
    try:
        inputs = _load(path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise MptqError(f"{path} cannot be read as a NumPy file ({_trouble(error)}") from error
    array, what = inputs.values, str(path) if inputs.name is None else f"{path} (array {inputs.name})"
    channels, height, width = preprocessing.input_size
    if array.ndim != 4 or array.shape[1:] != preprocessing.input_size or len(array) == 0:
        advice = _shape_advice(array.shape, preprocessing.input_size)
        if inputs.others and inputs.name != _KEY:
            advice = f"it was taken as the first of {1 + len(inputs.others)}: name the one with the inputs {_KEY!r}"
        raise MptqError(
            f"{what} has shape {list(array.shape)}, the model takes [inputs, {channels}, {height}, {width}]; {advice}"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise MptqError(
            f"{what} holds {array.dtype}, not floats; save normalised inputs, (x / 255 - mean) / std with mean "
            f"{preprocessing.mean} and std {preprocessing.std}, or give a folder of images"
        )
    low, high = np.full(channels, np.inf), np.full(channels, -np.inf)
    for start in range(0, len(array), _CHECKED_AT_ONCE):
        part = np.asarray(array[start : start + _CHECKED_AT_ONCE])
        # A NaN or Inf shows in one of the two: what comes from disk is looked through twice, not three times.
        low, high = np.minimum(low, part.min(axis=(0, 2, 3))), np.maximum(high, part.max(axis=(0, 2, 3)))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            finite = np.isfinite(part).reshape(len(part), -1).all(axis=1)
            raise MptqError(f"{what}: input {start + int(np.argmin(finite))} holds NaN or Inf; leave it out")
    if not any_range:
        check_range(what, low, high, preprocessing)
    return inputs


def _trouble(error: Exception) -> str:
    """Why NumPy does not read a file, and what to do: its own advice is to run what is in it."""
    text = str(error)
    if "Object arrays" in text or "Python objects" in text:
        return "it holds Python objects, not numbers); save the inputs as one array of floats with numpy.save"
    if "pickle" in text:
        return "it is a pickle, or damaged); save the inputs as one array of floats with numpy.save"
    return f"{text}); save it again with numpy.save"


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


def _load(path: Path) -> ArrayInputs:
    if path.suffix == ".npy":
        return ArrayInputs(np.load(path, mmap_mode="r", allow_pickle=False))
    with np.load(path, allow_pickle=False) as arrays:
        if not arrays.files:
            raise ValueError("it holds no arrays")
        name = _KEY if _KEY in arrays.files else arrays.files[0]
        return ArrayInputs(arrays[name], name, tuple(other for other in arrays.files if other != name))
