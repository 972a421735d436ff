"""A file in another runtime as a function from pixels to its outputs, one image at a time."""

from collections.abc import Sequence

import numpy as np

from mptq_export.evaluate.outputs import PredictOutputs, Values
from mptq_export.runtime.edge.session import EdgeSession
from mptq_export.runtime.graph_input import GraphInput
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.support.errors import MptqError


def edge_outputs(session: EdgeSession, spec: GraphInput, names: Sequence[str], normalize: Normalize) -> PredictOutputs:
    """What a session gives for pixels.

    Args:
        session: of the file.
        spec: the file's input.
        names: of the outputs that are wanted.
        normalize: the normalisation that belongs to the file.
    """

    def predict(pixels: Pixels) -> Values:
        rows = []
        for image in pixels:
            found = session.run(to_graph_input(image[None], spec, normalize))
            missing = sorted(set(names) - set(found))
            if missing:
                raise MptqError(f"{session.device} gives no output {missing[0]}, which the file's metadata names")
            rows.append([found[name] for name in names])
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    return predict
