"""A detector as a function from pixels to what it found: its files, and its float model by the same glue."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.data.placement import Placement
from mptq_export.detect.detections import Detections
from mptq_export.detect.glue import Network, Networks, detect
from mptq_export.evaluate.beside import FloatModel
from mptq_export.recipe.detector import Detector, Part, detector_of
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError

Detect = Callable[[Pixels, Sequence[Placement]], list[Detections]]
"""Pixels (images, height, width, channels), and where each picture lies in them, to what was found on each."""


FirstOutputs = Callable[[Pixels], Mapping[str, NDArray[np.float32]]]
"""Pixels to the outputs of a detector's first network by their names."""


@dataclass(frozen=True)
class DetectorFiles:
    """A detector in onnxruntime.

    Attributes:
        detector: how its outputs are read; its part is that of the first file.
        paths: of all files that are run, in their order.
        session: of the first file.
        detect: runs them.
    """

    detector: Detector
    paths: tuple[Path, ...]
    session: ort.InferenceSession
    detect: Detect


def open_detector_files(
    model: Path, metadata: Mapping[str, str], normalize: Normalize, *, masks: bool
) -> DetectorFiles:
    """Open a detector by its first file; the others lie beside it, as `OUT.box.onnx` and `OUT.mask.onnx`.

    Args:
        model: the first file.
        metadata: its own.
        normalize: the normalisation that belongs to it.
        masks: whether masks are wanted, where there is a head for them.

    Raises:
        MptqError: it is no detector, or not its first file, or the others are missing or those of another one.
    """
    detector = detector_in(model, metadata)
    session = open_session(model)
    spec, names = graph_input(session), [entry.name for entry in session.get_outputs()]

    def first(pixels: Pixels) -> Mapping[str, NDArray[np.float32]]:
        return run_session(session, names, {spec.name: to_graph_input(pixels, spec, normalize)})

    heads = {part: _beside(model, part, detector) for part in heads_of(detector, masks=masks)}
    networks = {part: _network(head) for part, (_, head) in heads.items()}
    paths = (model, *(path for path, _ in heads.values()))
    return DetectorFiles(detector, paths, session, glued(detector, first, networks))


def detector_in(model: Path, metadata: Mapping[str, str]) -> Detector:
    """What a file says of the detector that it is the first file of.

    Raises:
        MptqError: it is no detector, or another of its files.
    """
    detector = detector_of(metadata)
    if detector is None:
        raise MptqError(
            f"{model} does not say how boxes are made of what it gives; name a detector's file, or leave --task out"
        )
    if detector.part in ("box", "mask"):
        raise MptqError(f"{model} is the {detector.part} head of a detector; name the detector's first file")
    return detector


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


def _network(session: ort.InferenceSession) -> Network:
    spec, names = graph_input(session), [entry.name for entry in session.get_outputs()]

    def run(x: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        return run_session(session, names, {spec.name: x})

    return run


def _beside(model: Path, part: Part, detector: Detector) -> tuple[Path, ort.InferenceSession]:
    """The file of a head, opened.

    Raises:
        MptqError: it is missing, or of another detector.
    """
    path = model.with_name(f"{model.stem}.{part}.onnx")
    if not path.is_file():
        raise MptqError(f"{model} needs {path.name} beside it, and there is none; put all files of the export there")
    session = open_session(path)
    if detector_of(session.get_modelmeta().custom_metadata_map) != replace(detector, part=part):
        raise MptqError(f"{path} is not the {part} head of {model}; put all files of one export there")
    return path, session
