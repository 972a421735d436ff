"""A portable file beside the simulation that its quantizers were searched with.

Nothing is proved of this form. What is checked is that the file is what was searched: as it is written, without
onnxruntime's own rewriting, it gives what the simulation gave, but for codes that lie on a boundary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort
import torch

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import file_inputs
from mptq_export.runtime.session import open_session, run_session


@dataclass(frozen=True)
class PortableCheck:
    """A portable file as it is written, beside the simulation that its quantizers were searched with.

    Attributes:
        images: how many were run.
        values: of all outputs together.
        differing: those that are not equal.
        sqnr_db: squares of the simulation's values by squares of the differences, in dB; None where all are equal.
        seconds: that it took.
    """

    images: int
    values: int
    differing: int
    sqnr_db: float | None
    seconds: float


def check_portable(
    path: Path,
    pictures: torch.Tensor,
    preprocessing: Preprocessing,
    simulate: Callable[[torch.Tensor], torch.Tensor],
) -> PortableCheck:
    """Run a file as it is written.

    Args:
        path: the file.
        pictures: float32 NCHW inputs of the model.
        preprocessing: of the model.
        simulate: what the simulation gives for a batch, all outputs flattened, [B, values].

    Raises:
        MptqError: onnxruntime does not open the file.
    """
    start, options = perf_counter(), ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(path, options)
    spec = graph_input(session)
    rows = file_inputs(pictures.numpy(), spec, preprocessing)
    names = [each.name for each in session.get_outputs()]
    signal = noise = 0.0
    values = differing = 0
    for row, picture in zip(rows, pictures, strict=True):
        found = run_session(session, names, {spec.name: row[None]})
        with torch.no_grad():
            expected = simulate(picture[None]).reshape(-1).double().numpy()
        given = np.concatenate([found[name].reshape(-1) for name in names]).astype(np.float64)
        values, differing = values + given.size, differing + int((given != expected).sum())
        signal += float((expected**2).sum())
        noise += float(((given - expected) ** 2).sum())
    ratio = None if noise == 0 else 10 * math.log10(max(signal, 1e-30) / noise)
    return PortableCheck(len(pictures), values, differing, ratio, perf_counter() - start)
