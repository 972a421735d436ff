"""A detector as a function from pixels to what it found: its files, and its float model by the same glue."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.placement import Placement
from mptq_export.detect.detections import Detections
from mptq_export.detect.glue import Network, Networks, detect
from mptq_export.detect.parts import PartFile
from mptq_export.evaluate.beside import FloatModel
from mptq_export.recipe.detector import Detector, Part
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.support.errors import MptqError

Detect = Callable[[Pixels, Sequence[Placement]], list[Detections]]
"""Pixels (images, height, width, channels), and where each picture lies in them, to what was found on each."""


FirstOutputs = Callable[[Pixels], Mapping[str, NDArray[np.float32]]]
"""Pixels to the outputs of a detector's first network by their names."""


def file_detect(parts: Mapping[Part, PartFile], normalize: Normalize, *, masks: bool) -> Detect:
    """A detector in onnxruntime.

    Args:
        parts: its files (see `detect.parts.open_parts`).
        normalize: the normalisation that belongs to them.
        masks: whether masks are wanted, where there is a head for them.
    """
    first = next(iter(parts.values()))

    def outputs(pixels: Pixels) -> Mapping[str, NDArray[np.float32]]:
        return first.run(to_graph_input(pixels, first.spec, normalize))

    return glued(first.detector, outputs, {part: parts[part].run for part in heads_of(first.detector, masks=masks)})


def float_detect(floating: FloatModel, detector: Detector, *, masks: bool) -> Detect:
    """A float model by the glue of a file.

    Args:
        floating: the model.
        detector: the file's.
        masks: whether masks are wanted.

    Raises:
        MptqError: it is another detector.
    """
    own, names = floating.detector, [each.name for each in floating.outputs]
    heads = {head.part: head.network for head in floating.heads}
    wanted = heads_of(detector, masks=masks)
    if set(wanted) - set(heads) or (own is not None and _shape(own) != _shape(detector)):
        raise MptqError(
            "the float model is another detector than the file: other heads, levels, anchors or classes; name the one "
            "that was exported, with its --model-kwargs of then"
        )

    def first(pixels: Pixels) -> Mapping[str, NDArray[np.float32]]:
        return dict(zip(names, floating.predict(pixels), strict=True))

    return glued(detector, first, {part: heads[part] for part in wanted})


def glued(detector: Detector, first: FirstOutputs, heads: Mapping[Part, Network]) -> Detect:
    """A detector, from its networks.

    Args:
        detector: how their outputs are read.
        first: the network that takes pictures.
        heads: those of the second stage.
    """

    def found(pixels: Pixels, placements: Sequence[Placement]) -> list[Detections]:
        outputs = first(pixels)
        networks = Networks(lambda _: outputs, heads.get("box"), heads.get("mask"))
        return detect(detector, networks, _NOTHING, placements)

    return found


_NOTHING: NDArray[np.float32] = np.zeros(0, np.float32)


def heads_of(detector: Detector, *, masks: bool) -> tuple[Part, ...]:
    """The networks of a detector beside the first: with masks where they are wanted, and there is a head for them."""
    if detector.regions is None:
        return ()
    return ("box", "mask") if masks and detector.regions.mask_pooling is not None else ("box",)


def _shape(detector: Detector) -> Detector:
    """What of a detector its networks decide; names and what is kept may be others."""
    return replace(detector, names=None, selection=replace(detector.selection, score=0.0, overlap=0.0, kept=0))
