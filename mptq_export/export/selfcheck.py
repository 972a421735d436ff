"""On which inputs an export checks its file before the file appears.

Pictures, because noise does not reach the codes that they reach; even images, which reach others; noise; and the ends.
"""

from typing import Any

import onnx
import torch
from numpy.typing import NDArray

from mptq_export.data.images import spread
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.probe import probe_inputs
from mptq_export.export.check_counts import check_counts
from mptq_export.runtime.graph_input import declared_input
from mptq_export.runtime.pixels import file_inputs
from mptq_export.verify.inputs.probes import space_of
from mptq_export.verify.inputs.sets import InputSet, probe_sources


def selfcheck_inputs(
    model: onnx.ModelProto, macs: int, images: torch.Tensor | None, method: str, preprocessing: Preprocessing
) -> InputSet:
    """The inputs, in batches of one and three.

    Args:
        model: the file.
        macs: multiply-accumulates of one image.
        images: float32 NCHW calibration inputs; None where there are none: synthetic ones are taken.
        method: that they were quantized with.
        preprocessing: the model's.
    """
    counts = check_counts(macs, 0 if images is None else len(images), method)
    wanted = counts.pop("images")
    spec = declared_input(model)
    if images is None:
        pictures = space_of(model).filled(probe_inputs(preprocessing, wanted))
    else:
        pictures = images[spread(range(len(images)), wanted)].cpu().numpy()
    rows: NDArray[Any] = file_inputs(pictures, spec, preprocessing)
    return InputSet({"images": (len(rows), rows), **probe_sources(model, **counts)}, spec)
