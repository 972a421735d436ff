"""Inputs that were prepared already, in a file or in memory, to calibrate on."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.arrays import check_inputs, open_inputs
from mptq_export.data.comparison_images import fixed_inputs
from mptq_export.data.images import spread
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import Reading
from mptq_export.data.sources.source import CalibrationSource, Inputs
from mptq_export.data.suspicions import Suspicions


def from_array_file(path: Path, preprocessing: Preprocessing, count: int, reading: Reading) -> CalibrationSource:
    """Inputs of an `.npy`, which stays on disk, or an `.npz`.

    Raises:
        MptqError: it cannot be read, or holds something else than the model's inputs.
    """
    inputs = open_inputs(path, preprocessing, any_range=reading.any_range)
    warnings: tuple[str, ...] = ()
    if inputs.others and inputs.name != "images":
        warnings = (f"{path} holds {', '.join((str(inputs.name), *inputs.others))}: {inputs.name} was taken",)
    return _from_values(inputs.values, str(path), count, f", array {inputs.name}" if inputs.name else "", warnings)


def from_array(
    values: NDArray[Any], what: str, preprocessing: Preprocessing, count: int, reading: Reading
) -> CalibrationSource:
    """Inputs in memory, of which no copy is made.

    Args:
        values: any array.
        what: it is, for people.
        preprocessing: the model's.
        count: at most so many, spread evenly.
        reading: whether values must be normalised pixels.

    Raises:
        MptqError: it holds something else than the model's inputs.
    """
    check_inputs(values, what, preprocessing, any_range=reading.any_range)
    return _from_values(values, what, count)


def _from_values(
    values: NDArray[Any], what: str, count: int, taken: str = "", warnings: tuple[str, ...] = ()
) -> CalibrationSource:
    chosen = spread(range(len(values)), count)

    def read() -> Iterator[Inputs]:
        for index in chosen:
            yield np.asarray(values[index], np.float32)

    suspicions = Suspicions()
    for each in read():
        suspicions.look(each.transpose(1, 2, 0))
    described = f"{len(chosen)} inputs of {what}"
    return CalibrationSource(
        count=len(chosen),
        description=described + taken,
        warnings=(*warnings, *suspicions.warnings(described)),
        read=read,
        comparison=partial(fixed_inputs, values, what, calibrated=count),
        available=len(values),
    )
