"""What a file says about itself, in either form, and how it and its recipe name each other."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import onnx

from mptq_export.data.classes import NAMES_KEY, ORIGIN_KEY
from mptq_export.data.reading import EXIF_KEY
from mptq_export.export.outputs import Outputs
from mptq_export.load.features import FEATURES_KEY, features_text
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.outputs import LOGITS, OUTPUTS_KEY, outputs_text
from mptq_export.recipe.detector import DETECTOR_KEY, FIRST_KEY, detector_text
from mptq_export.recipe.onnx_contents import CONTENTS_KEY, RECIPE_KEY, contents_digest, contents_of
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.settings import Settings
from mptq_export.recipe.store import to_json
from mptq_export.support.version import __version__

#: Metadata with the profile that a file obeys.
PROFILE_KEY = "mptq.profile"


def first_stage(outputs: Outputs) -> dict[str, str]:
    """What the file of a head says of the one before it: heads of two exports do not go together."""
    return {} if outputs.first_stage is None else {FIRST_KEY: outputs.first_stage}


def describe(model: onnx.ModelProto, loaded: LoadedModel, settings: Settings, promised: Mapping[str, str]) -> None:
    """Write the metadata and the doc string of a model.

    Args:
        model: as emitted.
        loaded: the float model.
        settings: how the export was asked for.
        promised: what the form says besides.
    """
    metadata = {
        **({} if loaded.takes_regions else loaded.preprocessing.to_metadata()),
        "mptq.arch": loaded.arch,
        "mptq.bits": settings.bits,
        "mptq.method": settings.method,
        **promised,
    }
    if settings.target is not None:
        metadata["mptq.target"] = settings.target
    if settings.profile is not None:
        metadata[PROFILE_KEY] = settings.profile.name
    if loaded.features:
        metadata[FEATURES_KEY] = features_text(loaded.features)
    elif loaded.outputs != LOGITS or loaded.library == "module":  # no library says what a module gives
        metadata[OUTPUTS_KEY] = outputs_text(loaded.outputs)
    if loaded.detector is not None:
        names = loaded.detector.names if settings.classes is None else tuple(settings.classes.names)
        metadata[DETECTOR_KEY] = detector_text(replace(loaded.detector, names=names))
    elif settings.classes is not None:
        metadata[NAMES_KEY] = json.dumps(settings.classes.names)
        metadata[ORIGIN_KEY] = settings.classes.origin
    if settings.calibration.exif:
        metadata[EXIF_KEY] = "true"
    onnx.helper.set_model_props(model, metadata)
    check = "mptq-verify FILE --recipe RECIPE" if settings.form == "exact" else "mptq-verify FILE --runtime RUNTIME"
    model.doc_string = (
        f"{loaded.arch}, {settings.bits} bits (weights/activations), method {settings.method}; written by "
        f"mptq-export {__version__}. The metadata says how to prepare an image; doc strings of nodes say what was "
        f"decided for their layer. To check the file: {check}"
    )


def tie(model: onnx.ModelProto, recipe: ExportRecipe) -> None:
    """Let a finished model and its recipe name each other: the recipe lists the model's parts, the model its hash."""
    recipe.contents = contents_of(model)
    model.metadata_props.add(key=CONTENTS_KEY, value=contents_digest(recipe.contents))
    model.metadata_props.add(key=RECIPE_KEY, value=hashlib.sha256(to_json(recipe).encode()).hexdigest())
