"""Any number of inputs through a session whose file may have a batch of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.runtime.graph_input import GraphInput
from mptq_export.runtime.session import run_session


def run_any(
    session: ort.InferenceSession, names: Sequence[str], spec: GraphInput, inputs: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Outputs by name, for any number of inputs but none.

    Where the file has a batch of its own, they run in turn; the last one is filled up with zeros, whose results are
    left out.

    Args:
        session: of the file, whose outputs have the batch first.
        names: of the outputs.
        spec: its input.
        inputs: (inputs, ...), as the file takes them.

    Raises:
        MptqError: onnxruntime fails.
    """
    size = spec.batch(len(inputs))
    if size == len(inputs):
        return run_session(session, list(names), {spec.name: inputs})
    filling = np.zeros((-len(inputs) % size, *inputs.shape[1:]), inputs.dtype)
    filled = np.concatenate((inputs, filling))
    runs = [
        run_session(session, list(names), {spec.name: filled[start : start + size]})
        for start in range(0, len(filled), size)
    ]
    return {name: np.concatenate([run[name] for run in runs])[: len(inputs)] for name in names}
