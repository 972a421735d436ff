"""On which inputs an export checks its file before the file appears.

Pictures, because noise does not reach the codes that they reach; even images, which reach others; noise; and the ends.
How many follows from the multiply-accumulates of the model and from the images that it was calibrated on, never from a
clock: the same export runs the same inputs on every machine, and the check stays below a fifth of it.
"""

from typing import Any

import onnx
import torch
from numpy.typing import NDArray

from mptq_export.data.images import spread
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.probe import probe_inputs
from mptq_export.runtime.graph_input import declared_input
from mptq_export.runtime.pixels import file_inputs
from mptq_export.verify.inputs.probes import space_of
from mptq_export.verify.inputs.sets import CONSTANT, EXTREME, RANDOM, InputSet, probe_sources

#: Pictures of a whole check.
IMAGES = 16

#: Inputs of the smallest check.
FEWEST = 8

#: Inputs that may be checked for a calibration image, by method: it takes four times as long as they do.
_PER_IMAGE = {"minmax": 0.75, "paper": 0.75, "best": 1.5}

#: Multiply-accumulates whose check is a fifth of what every export begins and ends with. Both were measured, with
#: `tools/bench/check_share.py`.
_FIXED = 5e9


def check_counts(macs: int, calibrated: int, method: str) -> dict[str, int]:
    """How many inputs of each kind.

    Args:
        macs: multiply-accumulates of one image.
        calibrated: images that the export was calibrated on; 0 for one from a recipe.
        method: that it was quantized with.
    """
    whole = {"images": IMAGES, "random": RANDOM, "constant": CONSTANT, "extreme": EXTREME}
    affordable = max(FEWEST, _PER_IMAGE[method] * calibrated + _FIXED / max(macs, 1))
    share = min(1.0, affordable / sum(whole.values()))
    return {kind: max(1, round(count * share)) for kind, count in whole.items()}


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
