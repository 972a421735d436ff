"""What a model is calibrated on: a folder of images, a file of inputs, synthetic images, or what a program gives."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mptq_export.data.arrays import ARRAY_SUFFIXES
from mptq_export.data.given import NOTHING, Given
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import USUAL, Reading
from mptq_export.data.sources.array import from_array, from_array_file
from mptq_export.data.sources.folder import from_folder
from mptq_export.data.sources.own_transform import OwnTransform
from mptq_export.data.sources.python_data import from_python
from mptq_export.data.sources.source import CalibrationSource
from mptq_export.data.sources.synthetic import from_nothing
from mptq_export.data.values import as_numbers
from mptq_export.support.errors import MptqError

_FEW = 16
"""Fewer inputs than this give poor ranges."""


def open_calibration(
    path: Path | None,
    preprocessing: Preprocessing,
    *,
    count: int,
    reading: Reading = USUAL,
    given: Given = NOTHING,
) -> CalibrationSource:
    """Open calibration data and check all of it.

    Args:
        path: a folder of images, or an ``.npy`` or ``.npz`` of preprocessed inputs; None for synthetic images, or for
            what is given.
        preprocessing: the model's.
        count: at most so many inputs, spread evenly over what has a length.
        reading: how the data is to be taken, where not as usual.
        given: what a program gives instead.

    Raises:
        MptqError: nothing usable is there, or the reading or the transform does not belong to data of this kind.
    """
    transform = None if given.transform is None else OwnTransform(given.transform, preprocessing)
    if given.data is None:
        source = _of_path(path, preprocessing, count, reading, transform)
    else:
        source = _of_program(given.data, preprocessing, count, reading, transform)
    if (path is None and given.data is None) or source.count >= _FEW:
        return source
    few = f"calibrated on {source.count} inputs only: ranges are poor with fewer than {_FEW}; a hundred do"
    return replace(source, warnings=(*source.warnings, few))


def _of_path(
    path: Path | None, preprocessing: Preprocessing, count: int, reading: Reading, transform: OwnTransform | None
) -> CalibrationSource:
    _check_reading(path, reading)
    if path is None or _is_array(path):
        if transform is not None:
            raise MptqError(f"transform takes pictures, and {path or 'synthetic images'} need none; leave it out")
        return (
            from_nothing(preprocessing, count) if path is None else from_array_file(path, preprocessing, count, reading)
        )
    if path.is_file():
        raise MptqError(f"{path} is neither a folder of images nor one of {', '.join(ARRAY_SUFFIXES)}")
    return from_folder(path, preprocessing, count, reading, transform=transform)


def _of_program(
    data: Any, preprocessing: Preprocessing, count: int, reading: Reading, transform: OwnTransform | None
) -> CalibrationSource:
    if isinstance(data, np.ndarray) or hasattr(data, "detach"):
        if transform is not None:
            raise MptqError(f"transform takes pictures, and the data is a {type(data).__name__}; leave it out")
        _check_given(data, reading, "--any-range")
        values = as_numbers(data, "the calibration data is")
        return from_array(values, f"a {type(data).__name__}", preprocessing, count, reading)
    if isinstance(data, list | tuple) and data and all(isinstance(each, str | Path) for each in data):
        _check_given(data, reading, "--exif", "--allow-skipped")
        files = [Path(each) for each in data]
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise MptqError(f"{missing} of the list of files is no file; check its path")
        root = Path(os.path.commonpath([file.parent.absolute() for file in files]))
        files = [file.absolute() for file in files]
        return from_folder(root, preprocessing, count, reading, files=files, transform=transform)
    _check_given(data, reading, "--any-range", "--exif")
    return from_python(data, preprocessing, count, reading, transform)


def _is_array(path: Path) -> bool:
    return path.suffix in ARRAY_SUFFIXES and not path.is_dir()


def _check_reading(path: Path | None, reading: Reading) -> None:
    of_arrays = path is not None and _is_array(path)
    wrong = [option for option in reading.options if (option == "--any-range") != of_arrays or path is None]
    if wrong:
        wants = "an array (.npy, .npz)" if wrong[0] == "--any-range" else "a folder of images"
        raise MptqError(f"{wrong[0]} belongs to --calib with {wants}; leave it out")


def _check_given(data: Any, reading: Reading, *known: str) -> None:
    wrong = next((option for option in reading.options if option not in known), None)
    if wrong is not None:
        name = wrong.removeprefix("--").replace("-", "_")
        raise MptqError(f"{name} does not belong to a {type(data).__name__}; leave it out")
