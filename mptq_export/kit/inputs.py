"""The golden inputs of an export: calibration inputs, as the written file takes them."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.calibration import CalibrationSource, open_calibration
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.probe import probe_inputs
from mptq_export.data.reading import USUAL, Reading
from mptq_export.runtime.graph_input import declared_input
from mptq_export.runtime.pixels import file_inputs
from mptq_export.support.errors import MptqError
from mptq_export.verify.onnx_file import load_onnx

COUNT = 2
"""Golden inputs of a kit: one can agree by luck, many make it large."""
_MORE = 128


def calibration_inputs(
    model: Path, calib: Path | None, preprocessing: Preprocessing, reading: Reading = USUAL
) -> list[NDArray[Any]]:
    """`COUNT` inputs out of the calibration set, one a batch (or repeated, where the graph fixes a larger batch).

    Args:
        model: the exported file; its input is float32 NCHW, or uint8 NHWC pixels.
        calib: what `open_calibration` takes; None for synthetic inputs, the same ones on every call.
        preprocessing: the model's.
        reading: how the calibration set is read, where not as usual.

    Raises:
        MptqError: the calibration set or the file cannot be read.
    """
    spec = declared_input(load_onnx(model))
    if calib is None:
        batches: Iterable[NDArray[np.float32]] = probe_inputs(preprocessing, COUNT)[:, None]
    else:
        batches = islice(_few(calib, preprocessing, reading).batches(1), COUNT)
    inputs: list[NDArray[Any]] = []
    for batch in batches:
        array = file_inputs(batch, spec, preprocessing)
        inputs.append(np.ascontiguousarray(np.repeat(array, spec.batch(1), axis=0)))
    return inputs


def _few(calib: Path, preprocessing: Preprocessing, reading: Reading) -> CalibrationSource:
    """`COUNT` inputs, or more where one of those cannot be read: a tenth of two images is none."""
    try:
        return open_calibration(calib, preprocessing, count=COUNT, reading=reading)
    except MptqError:
        return open_calibration(calib, preprocessing, count=_MORE, reading=reading)
