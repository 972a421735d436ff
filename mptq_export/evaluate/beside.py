"""The float model that a file is compared with, loaded so that both take the same input and give the same outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.detect.glue import Network
from mptq_export.evaluate.given import Given
from mptq_export.evaluate.outputs import PredictOutputs
from mptq_export.load.features import features_of
from mptq_export.load.inputs import inputs_of
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.detector import Detector, Part, detector_of
from mptq_export.recipe.outputs import Output


@dataclass(frozen=True)
class FloatHead:
    """A network of a float detector's second stage.

    Attributes:
        part: which it is.
        network: regions of its maps to its outputs by their names.
    """

    part: Part
    network: Network


@dataclass(frozen=True)
class FloatModel:
    """A float model that was loaded for a comparison.

    Attributes:
        predict: pixels to its outputs.
        outputs: what they are.
        warnings: what the user must see of it, a sentence each.
        detector: what of it is float by nature, where it is a detector that says so.
        heads: of its second stage, in the order of running.
        digest: SHA-256 of its parameters and buffers, so that kept results of another one are known.
    """

    predict: PredictOutputs
    outputs: tuple[Output, ...]
    warnings: tuple[str, ...]
    detector: Detector | None = None
    heads: tuple[FloatHead, ...] = ()
    digest: str = ""


LoadFloat = Callable[[ModelRequest], FloatModel]
"""Loads it; handed in, because torch takes seconds to import."""


def load_beside(
    checkpoint: ModelRequest, model: Path, metadata: Mapping[str, str], given: Given, load_float: LoadFloat
) -> FloatModel:
    """Load a checkpoint with the input that a file was made for, whatever options that took, and the file's outputs.

    Args:
        checkpoint: as the user names it.
        model: the file, for messages.
        metadata: of the file.
        given: what the file gives.
        load_float: loads it.

    Raises:
        MptqError: it cannot be loaded, or gives something else than the file.
    """
    features = tuple(each.index for each in features_of(metadata)) or None
    inputs = inputs_of(Preprocessing.from_metadata(metadata))
    detector = detector_of(metadata)
    # Of torchvision's detectors kinds are known, and nobody may say them.
    kinds = given.kinds if detector is None or detector.family == "set" else None
    asked = replace(checkpoint, inputs=inputs, features=features, outputs=given.chosen, kinds=kinds)
    floating = load_float(asked)
    given.check_beside(model, floating.outputs)
    return floating
