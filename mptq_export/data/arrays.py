"""Model inputs that someone preprocessed already, in a NumPy file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.pixel_range import check_range
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.values import SeenRange, check_size
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
    what = str(path) if inputs.name is None else f"{path} (array {inputs.name})"
    advice = None
    if inputs.others and inputs.name != _KEY:
        advice = f"it was taken as the first of {1 + len(inputs.others)}: name the one with the inputs {_KEY!r}"
    check_inputs(inputs.values, what, preprocessing, any_range=any_range, advice=advice)
    return inputs


def check_inputs(
    values: NDArray[Any], what: str, preprocessing: Preprocessing, *, any_range: bool, advice: str | None = None
) -> None:
    """Refuse an array that does not hold inputs of a model.

    Args:
        values: any array.
        what: it is, for the message.
        preprocessing: the model's.
        any_range: take values that are no normalised pixels.
        advice: what to do about another shape, where that is known.

    Raises:
        MptqError: shape or type is another one, a value is not finite, or cannot be that of a normalised pixel.
    """
    check_size(values, what, preprocessing, advice)
    seen = SeenRange(values.shape[1])
    for start in range(0, len(values), _CHECKED_AT_ONCE):
        seen.look(np.asarray(values[start : start + _CHECKED_AT_ONCE]), what)
    if not any_range:
        check_range(what, seen.low, seen.high, preprocessing)


def _trouble(error: Exception) -> str:
    """Why NumPy does not read a file, and what to do: its own advice is to run what is in it."""
    text = str(error)
    if "Object arrays" in text or "Python objects" in text:
        return "it holds Python objects, not numbers); save the inputs as one array of floats with numpy.save"
    if "pickle" in text:
        return "it is a pickle, or damaged); save the inputs as one array of floats with numpy.save"
    return f"{text}); save it again with numpy.save"


def _load(path: Path) -> ArrayInputs:
    if path.suffix == ".npy":
        return ArrayInputs(np.load(path, mmap_mode="r", allow_pickle=False))
    with np.load(path, allow_pickle=False) as arrays:
        if not arrays.files:
            raise ValueError("it holds no arrays")
        name = _KEY if _KEY in arrays.files else arrays.files[0]
        return ArrayInputs(arrays[name], name, tuple(other for other in arrays.files if other != name))
