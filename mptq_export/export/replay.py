"""A recipe instead of calibration: the same decisions on the same checkpoint give the same bytes."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mptq_export.calibrate.sites import sites
from mptq_export.capture import run as capturing
from mptq_export.capture.compare_batches import check_capture
from mptq_export.capture.evaluate import weight_matrix
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import LayerNorm, Weighted
from mptq_export.load.inputs import option_of
from mptq_export.load.loaded import LoadedModel
from mptq_export.quantize.activations.residual_grid import streams
from mptq_export.quantize.method import METHODS
from mptq_export.recipe.schema import CALIBRATION_WARNINGS, Recipe
from mptq_export.support.errors import MptqError
from mptq_export.targets.rules import storage_for
from mptq_export.targets.table import TARGETS
from mptq_export.transform.fold_sq_b import smooth, smoothed_readers
from mptq_export.transform.prepare import prepare

_ADVICE = "give the model that the recipe was made for, restore the file, or export again"
#: Values that a setting can have, where a stranger's could do harm.
_KNOWN: dict[str, tuple[object, ...]] = {
    "input": ("float32", "uint8"),
    "weight_storage": ("packed", "int8"),
    "pixel_inputs": (True, False),
    "method": tuple(METHODS),
}


def check_model(path: Path, recipe: Recipe, identity: dict[str, Any], preprocessing: dict[str, str]) -> None:
    """Refuse a recipe of another model.

    Args:
        path: the recipe's file, for the message.
        recipe: what was read from it.
        identity: architecture, arguments and weights of the model that was loaded (see `identity.identity_of`).
        preprocessing: of the loaded model, as metadata.

    Raises:
        MptqError: something differs; the message says what.
    """
    advice = "give the checkpoint that it was made for, or export this one with --calib"
    for key, what in (("arch", "its architecture is"), ("model_kwargs", "its model arguments are")):
        # JSON knows no tuples
        found = json.loads(json.dumps(identity[key]))
        if found != recipe.model.get(key):
            raise MptqError(
                f"{path} is the recipe of another model: {what} {recipe.model.get(key)}, the checkpoint's {found}; "
                "give the checkpoint, --arch, --model-kwargs and --img-size of then, or export again with --calib"
            )
    if identity["weights_sha256"] != recipe.model.get("weights_sha256"):
        raise MptqError(f"{path} is the recipe of another model: its weights (weights_sha256) differ; {advice}")
    made_with = recipe.settings.get("preprocessing")
    made_with = made_with if isinstance(made_with, dict) else {}
    other = [key for key in preprocessing if preprocessing[key] != made_with.get(key)]
    if other:
        part = other[0].rpartition(".")[2]
        option = {"input_size": "--img-size and --in-chans"}.get(part, option_of(part))
        raise MptqError(
            f"{path} is the recipe of another model: its preprocessing has {part} {str(made_with.get(other[0]))[:80]}, "
            f"the checkpoint's {preprocessing[other[0]]}; give the same {option} as then, or export again with --calib"
        )


def replay_settings(
    path: Path, recipe: Recipe, input_type: str | None, storage: str | None, target: str | None
) -> Recipe:
    """The recipe with another input type, weight storage or target, where one is asked for.

    Raises:
        MptqError: a setting is missing, or pixels are asked for and the recipe is for other inputs.
    """
    missing = [
        k
        for k in ("input", "weight_storage", "pixel_inputs", "bits", "method", "reconstruct", "calibration")
        if k not in recipe.settings
    ]
    if missing:
        raise MptqError(f"{path}: the settings lack {missing[0]}; restore the file, or export again")
    for name, known in _KNOWN.items():
        if recipe.settings[name] not in known:
            raise MptqError(f"{path}: the settings' {name} is {str(recipe.settings[name])[:40]!r}; {_ADVICE}")
    for name in ("bits", "calibration"):
        if not isinstance(recipe.settings[name], str):
            raise MptqError(f"{path}: the settings' {name} is no text; {_ADVICE}")
    for key, what in (("class_folders", "names"), ("class_map", "names"), (CALIBRATION_WARNINGS, "texts")):
        texts = recipe.settings.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise MptqError(f"{path}: the settings' {key} are no list of {what}; {_ADVICE}")
    if input_type == "uint8" and not recipe.settings["pixel_inputs"]:
        raise MptqError(
            f"{path}: it was calibrated on inputs that are not 8-bit pixels; --input uint8 needs such inputs"
        )
    if recipe.settings.get("target", "ort") not in tuple(TARGETS):
        raise MptqError(f"{path}: the settings' target is {str(recipe.settings['target'])[:40]!r}; {_ADVICE}")
    features = recipe.settings.get("features", [])
    if not isinstance(features, list) or not all(type(index) is int and index >= 0 for index in features):
        raise MptqError(f"{path}: the settings' features are no list of whole numbers; {_ADVICE}")
    if target is not None:
        storage = storage_for(target, storage, recipe.settings["weight_storage"])
    changes = {"input": input_type, "weight_storage": storage, "target": target}
    asked = {name: value for name, value in changes.items() if value is not None}
    return replace(recipe, settings={**recipe.settings, **asked})


def replay_graph(path: Path, recipe: Recipe, loaded: LoadedModel, probe: torch.Tensor) -> Graph:
    """The graph that the recipe was made for: captured, prepared and smoothed as it says.

    Args:
        path: the recipe's file, for messages.
        recipe: of this model.
        loaded: the model.
        probe: float32 images on which the graph is compared with the model, and `prepare` asserts that the function
            is preserved.

    Raises:
        MptqError: the recipe and the graph do not have the same layers, or tensors of the same shapes.
    """
    preprocessing = loaded.preprocessing
    normalisation = (preprocessing.mean, preprocessing.std) if recipe.settings["pixel_inputs"] else None
    graph = capturing.capture(loaded.model, preprocessing.input_size, loaded.maps)
    check_capture(graph, loaded.model, probe)
    graph = prepare(graph, probe, normalisation)
    _check_layers(path, recipe, graph)
    _check_shapes(path, recipe, graph)
    for name, smoothing in recipe.smoothing.items():
        graph = smooth(graph, graph[name], smoothing)
    return graph.cast(torch.float32)


def _check_layers(path: Path, recipe: Recipe, graph: Graph) -> None:
    """Every quantizer has its place in the graph, and every place its quantizer."""
    linears = [node.name for node in graph if isinstance(node.op, Weighted)]
    _check_same(path, "weights", recipe.weights, linears)
    _check_same(path, "activations", recipe.activations, [site.key for site in sites(graph)])
    _check_same(path, "exponents", recipe.exponents, streams(graph))
    norms = [node.name for node in graph if isinstance(node.op, LayerNorm) and smoothed_readers(graph, node)]
    _check_same(path, "smoothing", recipe.smoothing, norms)


def _check_same(path: Path, section: str, recipe: Iterable[str], graph: Iterable[str]) -> None:
    stored, wanted = dict.fromkeys(recipe), dict.fromkeys(graph)
    foreign = [name for name in stored if name not in wanted]
    if foreign:
        raise MptqError(f"{path}: {section} names {foreign[0]}, which the model does not have; {_ADVICE}")
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise MptqError(f"{path}: {section} lacks {missing[0]}, which the model has; {_ADVICE}")


def _check_shapes(path: Path, recipe: Recipe, graph: Graph) -> None:

    for name, quant in recipe.weights.items():
        node = graph[name]
        shape = tuple(weight_matrix(node).shape)
        _check_shape(path, f"codes of {name}", quant.codes.shape, shape)
        _check_shape(path, f"scale of {name}", quant.scale.shape, shape[:1])
        _check_shape(path, f"bias of {name}", quant.bias.shape, shape[:1])
    for name, entry in recipe.smoothing.items():
        width = tuple(graph[name].shape.dims[-1:])
        _check_shape(path, f"shift of {name}", entry.shift.shape, width)
        _check_shape(path, f"smoothing scale of {name}", entry.scale.shape, width)


def _check_shape(path: Path, what: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise MptqError(f"{path}: the {what} have shape {list(found)}, the model needs {list(wanted)}; {_ADVICE}")
