"""A recipe instead of calibration: the same decisions on the same checkpoint give the same bytes."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from mptq_export.calibrate.sites import sites
from mptq_export.capture.compare_batches import check_capture
from mptq_export.capture.evaluate import weight_matrix
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import LayerNorm, Weighted
from mptq_export.capture.run import capture
from mptq_export.export.forms import sites_of
from mptq_export.load.inputs import option_of
from mptq_export.load.loaded import LoadedModel
from mptq_export.quantize.method import METHODS
from mptq_export.quantize.portable.rotation import rotated
from mptq_export.quantize.residual_grid import streams
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.recipe.schema import ExportRecipe, Recipe
from mptq_export.recipe.settings import FileProfile, InputType, ModelIdentity, WeightStorage
from mptq_export.support.errors import MptqError
from mptq_export.targets.rules import storage_for
from mptq_export.targets.table import TARGETS, portable_form
from mptq_export.transform.fold_sq_b import fold_sq_b, sq_b_readers
from mptq_export.transform.prepare import prepare

_ADVICE = "give the model that the recipe was made for, restore the file, or export again"


def check_model(path: Path, recipe: ExportRecipe, identity: ModelIdentity, preprocessing: dict[str, str]) -> None:
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
    stored = recipe.model
    for what, ours, found in (
        ("its library is", stored.library, identity.library),
        ("its architecture is", stored.arch, identity.arch),
        ("its model arguments are", stored.model_kwargs, identity.model_kwargs),
    ):
        if found != ours:
            raise MptqError(
                f"{path} is the recipe of another model: {what} {ours}, the checkpoint's {found}; "
                "give the checkpoint, --arch, --model-kwargs and --img-size of then, or export again with --calib"
            )
    if identity.weights_sha256 != stored.weights_sha256:
        raise MptqError(f"{path} is the recipe of another model: its weights (weights_sha256) differ; {advice}")
    made_with = recipe.settings.preprocessing
    other = [key for key in preprocessing if preprocessing[key] != made_with.get(key)]
    if other:
        part = other[0].rpartition(".")[2]
        option = {"input_size": "--img-size and --in-chans"}.get(part, option_of(part))
        raise MptqError(
            f"{path} is the recipe of another model: its preprocessing has {part} {str(made_with.get(other[0]))[:80]}, "
            f"the checkpoint's {preprocessing[other[0]]}; give the same {option} as then, or export again with --calib"
        )


def replay_settings(
    path: Path,
    recipe: ExportRecipe,
    input_type: InputType | None,
    storage: WeightStorage | None,
    target: str | None,
    *,
    profile: FileProfile | None = None,
) -> ExportRecipe:
    """The recipe with another input type, weight storage or target, where one is asked for, and with a profile.

    Raises:
        MptqError: the recipe's target is not known, pixels are asked for and the recipe is for other inputs, or a
            profile is asked for and the recipe is of the portable form.
    """
    settings = recipe.settings
    if profile is not None and settings.form != "exact":
        raise MptqError(
            f"{path}: --profile sonnx spells the exact form out, and these codes are of the {settings.form} form for "
            f"{settings.target}; leave it out"
        )
    if profile is not None and settings.profile is None:
        storage = storage or "int8"
    if settings.target is not None and settings.target not in TARGETS:
        raise MptqError(f"{path}: the settings' target is {settings.target[:40]!r}; {_ADVICE}")
    if input_type == "uint8" and not settings.calibration.pixel_inputs:
        raise MptqError(
            f"{path}: it was calibrated on inputs that are not 8-bit pixels; --input uint8 needs such inputs"
        )
    if target is not None:
        wanted = "exact" if portable_form(target) is None else "portable"
        if settings.form != wanted or (wanted == "portable" and TARGETS[target] != TARGETS[settings.target or "ort"]):
            raise MptqError(
                f"{path}: its codes are of the {settings.form} form for {settings.target or 'ort'}, and --target "
                f"{target} has others; export again with --calib and --target {target}"
            )
        storage = storage_for(target, storage, settings.weight_storage)
    asked = replace(
        settings,
        input_type=input_type or settings.input_type,
        weight_storage=storage or settings.weight_storage,
        target=target or settings.target,
        profile=profile,
    )
    return replace(recipe, settings=asked)


def replay_graph(path: Path, recipe: ExportRecipe, loaded: LoadedModel, probe: torch.Tensor) -> Graph:
    """The graph that the recipe was made for: captured, prepared, and with the SQ-b that it says.

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
    normalisation = (preprocessing.mean, preprocessing.std) if recipe.settings.calibration.pixel_inputs else None
    graph = capture(loaded.model, preprocessing.input_size, loaded.outputs)
    check_capture(graph, loaded.model, probe)
    settings = recipe.settings
    form = form_for(settings.target, settings.residual_bits)
    graph = graph_for(form, prepare(graph, probe, normalisation), settings.input_type)
    _check_layers(path, recipe, graph)
    _check_shapes(path, recipe, graph)
    graph = _rotated(path, recipe, graph)
    for name, sq_b in recipe.sq_b.items():
        graph = fold_sq_b(graph, graph[name], sq_b)
    return graph.cast(torch.float32)


def _rotated(path: Path, recipe: Recipe, graph: Graph) -> Graph:
    """The graph with the rotations of a recipe."""
    turns = {name: torch.from_numpy(matrix) for name, matrix in recipe.rotations.items()}
    try:
        return rotated(graph, turns)
    except KeyError as error:
        raise MptqError(
            f"{path}: rotations names {error.args[0]}, whose residual cannot be rotated; {_ADVICE}"
        ) from error
    except ValueError as error:
        raise MptqError(f"{path}: {error}; {_ADVICE}") from error


def _check_layers(path: Path, recipe: ExportRecipe, graph: Graph) -> None:
    """Every quantizer has its place in the graph, and every place its quantizer."""
    linears = [node.name for node in graph if isinstance(node.op, Weighted)]
    _check_same(path, "weights", recipe.weights, linears)
    portable = recipe.settings.form == "portable"
    found = sites_of(recipe.settings, graph, recipe).all if portable else sites(graph)
    _check_same(path, "activations", recipe.activations, [site.key for site in found])
    _check_same(path, "exponents", recipe.exponents, () if portable else streams(graph))
    norms = [node.name for node in graph if isinstance(node.op, LayerNorm) and sq_b_readers(graph, node)]
    if METHODS[recipe.settings.method].sq_b == "off":
        norms = [name for name in norms if name in recipe.sq_b]
    _check_same(path, "smoothing", recipe.sq_b, norms)


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
    for name, entry in recipe.sq_b.items():
        width = tuple(graph[name].shape.dims[-1:])
        _check_shape(path, f"shift of {name}", entry.shift.shape, width)
        _check_shape(path, f"smoothing scale of {name}", entry.scale.shape, width)


def _check_shape(path: Path, what: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise MptqError(f"{path}: the {what} have shape {list(found)}, the model needs {list(wanted)}; {_ADVICE}")
