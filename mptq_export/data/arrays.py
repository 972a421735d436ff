"""Model inputs that someone preprocessed already, in a NumPy file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.errors import MptqError

ARRAY_SUFFIXES = (".npy", ".npz")

_KEY = "images"
_CHECKED_AT_ONCE = 64


def open_inputs(path: Path, input_size: tuple[int, int, int]) -> NDArray[np.floating[Any]]:
    """Open model inputs and check them.

    Args:
        path: an ``.npy``, which stays on disk, or an ``.npz`` whose array `images`, or else first array, is taken.
        input_size: (channels, height, width) of the model's input.

    Returns:
        (inputs, channels, height, width) of a float type.

    Raises:
        MptqError: the file is missing, unreadable, holds Python objects, or holds no finite floats of this shape.
    """
    if not path.is_file():
        raise MptqError(f"calibration file {path} does not exist; check the path")
    try:
        array = _load(path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise MptqError(f"{path} cannot be read as a NumPy file ({error}); save it again with numpy.save") from error
    channels, height, width = input_size
    if array.ndim != 4 or array.shape[1:] != input_size or len(array) == 0:
        raise MptqError(
            f"{path} has shape {list(array.shape)}, the model takes [inputs, {channels}, {height}, {width}]; "
            "preprocess the images for this model"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise MptqError(f"{path} holds {array.dtype}, not floats; save preprocessed inputs, or give a folder of images")
    for start in range(0, len(array), _CHECKED_AT_ONCE):
        finite = np.isfinite(array[start : start + _CHECKED_AT_ONCE]).reshape(-1, channels * height * width).all(axis=1)
        if not finite.all():
            raise MptqError(f"{path}: input {start + int(np.argmin(finite))} holds NaN or Inf; leave it out")
    return array


def _load(path: Path) -> NDArray[Any]:
    if path.suffix == ".npy":
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    with np.load(path, allow_pickle=False) as arrays:
        if not arrays.files:
            raise ValueError("it holds no arrays")
        array = arrays[_KEY if _KEY in arrays.files else arrays.files[0]]
    return array
