"""The golden inputs of an export: calibration inputs, as the written file takes them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.images import spread
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.probe import probe_inputs
from mptq_export.runtime.edge.form import FORM_KEY
from mptq_export.runtime.graph_input import declared_input
from mptq_export.runtime.pixels import file_inputs
from mptq_export.verify.onnx_file import load_onnx, metadata_of

COUNT = 2
"""Golden inputs of a kit: one can agree by luck, many make it large."""

PORTABLE_COUNT = 4
"""Those of a portable file, whose outputs agree within a tolerance alone."""


def golden_inputs(model: Path, images: NDArray[np.float32] | None, preprocessing: Preprocessing) -> list[NDArray[Any]]:
    """A few of the calibration inputs, one a batch (or repeated, where the graph fixes a larger batch).

    Args:
        model: the exported file; its input is float32 NCHW, or uint8 NHWC pixels.
        images: (inputs, channels, height, width) calibration inputs; None for synthetic ones, the same on every call.
        preprocessing: the model's.

    Raises:
        MptqError: the file cannot be read.
    """
    document = load_onnx(model)
    spec, count = declared_input(document), PORTABLE_COUNT if FORM_KEY in metadata_of(document) else COUNT
    if images is None:
        images = probe_inputs(preprocessing, count)
    inputs: list[NDArray[Any]] = []
    for index in spread(range(len(images)), count):
        array = file_inputs(images[index][None], spec, preprocessing)
        inputs.append(np.ascontiguousarray(np.repeat(array, spec.batch(1), axis=0)))
    return inputs
