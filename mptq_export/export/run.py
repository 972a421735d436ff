"""Checkpoint and images (or a recipe) in, one exact ONNX file and its recipe out: the stages in order."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from mptq_export import __version__
from mptq_export.calibrate.run import Calibrated, calibrate
from mptq_export.export.early import check_inputs
from mptq_export.export.identity import identity_of
from mptq_export.export.outputs import check_outputs
from mptq_export.export.request import ExportRequest
from mptq_export.recipe.schema import ExportRecipe, Recipe
from mptq_export.recipe.settings import CalibrationFacts, SearchFacts, Settings
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import Tell, Track, untold, untracked
from mptq_export.targets.rules import storage_for, warnings_of

if TYPE_CHECKING:
    import torch

    from mptq_export.capture.graph import Graph
    from mptq_export.load.model import LoadedModel
    from mptq_export.verify.report import VerifyReport


@dataclass(frozen=True)
class ExportResult:
    """What was written, for the summary.

    Attributes:
        request: what was asked for.
        loaded: the model that was read.
        warnings: what the user must see of the model, the calibration inputs and the file, a sentence each.
        recipe: all decisions and the proof.
        report: onnxruntime against `kernels_ref` on the inputs of `selfcheck`, with the kernel plan.
        float_bytes: size of the weights in float32.
        onnx_bytes: size of the ONNX file.
        load_ms: time that onnxruntime needs to make a session of the file.
        min_ort: the oldest onnxruntime that opens the file.
    """

    request: ExportRequest
    loaded: "LoadedModel"
    warnings: tuple[str, ...]
    recipe: ExportRecipe
    report: "VerifyReport"
    float_bytes: int
    onnx_bytes: int
    load_ms: float
    min_ort: str


def export_model(request: ExportRequest, track: Track = untracked, tell: Tell = untold) -> ExportResult:
    """Run the whole pipeline.

    Args:
        request: what to export.
        track: wraps an iterable with a progress bar.
        tell: gets the warnings of the model and of the calibration inputs before the long work.

    Returns:
        What was written. The ONNX file exists only after it was proved exact and compared with the reference.

    Raises:
        MptqError: any problem that the user can act on; nothing is left half written.
    """
    check_outputs(request)
    check_inputs(request)
    if request.recipe is not None:
        return export_recipe(request, load_asked(request, tell), track, tell)
    return export_calibrated(request, calibrate_asked(request, request.bits[0], track, tell), track)


def load_asked(request: ExportRequest, tell: Tell = untold) -> "LoadedModel":
    """Load the model that a request names, and tell what it warns of."""
    from mptq_export.export.refusals import check_companion
    from mptq_export.load.features import as_backbone
    from mptq_export.load.model import load_model

    loaded = load_model(
        request.model,
        arch=request.arch,
        model_kwargs=request.model_kwargs,
        trust=request.trust,
        inputs=request.inputs,
    )
    if request.features is not None:
        loaded = as_backbone(loaded, request.features)
    tell(loaded.warnings)
    check_companion(request, loaded)
    return loaded


def write_companion(request: ExportRequest, loaded: "LoadedModel") -> None:
    """Write the float model, where it is asked for, compared with torch on two synthetic images."""
    from mptq_export.data.probe import probe_inputs

    if request.float_onnx is not None:
        from mptq_export.emit.float_onnx import write_float_onnx

        write_float_onnx(loaded.model, probe_inputs(loaded.preprocessing, 2), request.float_onnx, loaded.outputs)


def calibrate_asked(
    request: ExportRequest,
    fewest: int,
    track: Track = untracked,
    tell: Tell = untold,
    check: "Callable[[Graph], None] | None" = None,
) -> Calibrated:
    """Load and calibrate the model that a request names.

    Args:
        request: what to export.
        fewest: bits that weights will have at least, where no pin says otherwise.
        track: wraps an iterable with a progress bar.
        tell: gets the warnings of the model and of the calibration inputs.
        check: looks at the graph before the inputs run through it; None: whether every pin matches a layer.
    """
    from mptq_export.allocate.units import pinned_widths
    from mptq_export.calibrate.run import torch_device
    from mptq_export.export.refusals import check_weights

    def check_pins(graph: "Graph") -> None:
        pinned_widths(graph, request.pins)

    torch_device(request.device)
    loaded = load_asked(request, tell)
    check_weights(request, loaded, fewest)
    calibrated = calibrate(
        loaded,
        request.calib,
        count=request.count,
        **asdict(request.reading),
        class_map=request.class_map,
        device=request.device,
        track=track,
        check=check or check_pins,
    )
    tell(calibrated.source.warnings)
    return calibrated


def begin(request: ExportRequest, calibrated: Calibrated) -> None:
    """What comes before the long work: refuse what cannot be, write the float companion.

    Raises:
        MptqError: the calibration inputs do not fit the request or the memory, or there is no companion.
    """
    from mptq_export.export.refusals import check_calibrated

    check_calibrated(request, calibrated)
    write_companion(request, calibrated.loaded)


def export_calibrated(request: ExportRequest, calibrated: Calibrated, track: Track) -> ExportResult:
    """Quantize at the widths of a request, write, and report.

    Args:
        request: what to export; its outputs were checked.
        calibrated: its model.
        track: wraps an iterable with a progress bar.
    """
    from mptq_export.report.command import command_of

    begin(request, calibrated)
    graph, recipe = _built(request, calibrated, track)
    return reported(written(request, calibrated.loaded, graph, recipe, calibrated.images, command_of(request), track))


def export_recipe(request: ExportRequest, loaded: "LoadedModel", track: Track, tell: Tell = untold) -> ExportResult:
    """Write a stored recipe again; synthetic images are only the probe of the rewrites.

    Args:
        request: what to export; its outputs were checked.
        loaded: the model that the recipe was made for.
        track: wraps an iterable with a progress bar.
        tell: gets the warnings that the recipe was calibrated with.

    Raises:
        MptqError: the recipe cannot be read, or is that of another model, or memory is too small.
    """
    import torch

    from mptq_export.capture.batches import BATCHES
    from mptq_export.data.probe import probe_inputs
    from mptq_export.export.replay import check_model, replay_graph, replay_settings
    from mptq_export.load.features import as_backbone
    from mptq_export.recipe.store import read_recipe
    from mptq_export.report.command import command_of
    from mptq_export.support.limits import check_weights_fit

    assert request.recipe is not None
    check_weights_fit(loaded.parameters)
    recipe = read_recipe(request.recipe)
    recipe = replay_settings(request.recipe, recipe, request.input_type, request.weight_storage, request.target)
    if recipe.settings.features and not loaded.features:
        loaded = as_backbone(loaded, recipe.settings.features)
    check_model(request.recipe, recipe, identity_of(loaded), loaded.preprocessing.to_metadata())
    tell(recipe.settings.calibration.warnings)
    write_companion(request, loaded)
    probe = torch.from_numpy(probe_inputs(loaded.preprocessing, max(BATCHES)))
    graph = replay_graph(request.recipe, recipe, loaded, probe)
    return reported(written(request, loaded, graph, recipe, None, command_of(request), track))


def _built(request: ExportRequest, calibrated: Calibrated, track: Track) -> "tuple[Graph, ExportRecipe]":
    """All quantizers, and the graph with the transforms that they were chosen for, on the CPU."""
    from mptq_export.allocate.units import pinned_widths
    from mptq_export.quantize.method import METHODS
    from mptq_export.quantize.walk.walk import build_recipe

    prepared = calibrated.graph
    pinned = pinned_widths(prepared, request.pins)
    text = "{}/{}".format(*request.bits) + (f", {len(pinned)} layers pinned" if pinned else "")
    bar = track(prepared, "quantizing", len(prepared.nodes))
    next(bar, None)
    built = build_recipe(
        prepared,
        calibrated.stats,
        calibrated.images,
        lambda layer: pinned.get(layer, request.bits),
        METHODS[request.method],
        lambda _node: next(bar, None),
    )
    return finished(request, calibrated, built, text, track)


def recipe_settings(
    request: ExportRequest, calibrated: Calibrated, bits: str, search: SearchFacts | None = None
) -> Settings:
    """How an export was asked for, as recipes store it."""
    loaded, source = calibrated.loaded, calibrated.source
    return Settings(
        bits=bits,
        pins={pattern: "{}/{}".format(*widths) for pattern, widths in request.pins.items()},
        method=request.method,
        reconstruct=request.reconstruct,
        input_type=request.input_type or "float32",
        weight_storage=storage_for(request.target or "ort", request.weight_storage),
        target=request.target,
        features=tuple(feature.index for feature in loaded.features),
        preprocessing=loaded.preprocessing.to_metadata(),
        calibration=CalibrationFacts(
            description=source.description,
            images=calibrated.stats.images,
            pixel_inputs=calibrated.pixel_inputs,
            exif=calibrated.reading.exif,
            skipped=source.skipped,
            warnings=source.warnings,
        ),
        classes=calibrated.classes.named,
        search=search,
        versions={"mptq-export": __version__, **{name: version(name) for name in ("torch", "timm", "onnx")}},
    )


def finished(
    request: ExportRequest,
    calibrated: Calibrated,
    built: "tuple[Graph, Recipe]",
    bits: str,
    track: Track,
    *,
    search: SearchFacts | None = None,
) -> "tuple[Graph, ExportRecipe]":
    """The recipe of an export, with learned codes where they are asked for, and its graph on the CPU.

    Args:
        request: what was asked for.
        calibrated: its model.
        built: the graph with its transforms, and all quantizers.
        bits: the widths in a few words.
        track: wraps an iterable with a progress bar.
        search: where the widths were searched.
    """
    import torch

    graph, recipe = built[0].cast(torch.float32), built[1]
    if request.reconstruct:
        from mptq_export.capture.blocks import split_blocks, trunk
        from mptq_export.quantize.weights.reconstruct import reconstruct

        blocks = split_blocks(trunk(graph))
        bar = track(blocks, "learning", len(blocks))
        next(bar, None)
        recipe = reconstruct(graph, recipe, calibrated.images, lambda _block: next(bar, None))
    settings = recipe_settings(request, calibrated, bits, search)
    return graph.to("cpu"), ExportRecipe.of(recipe, identity_of(calibrated.loaded), settings)


def written(
    request: ExportRequest,
    loaded: "LoadedModel",
    graph: "Graph",
    recipe: ExportRecipe,
    images: "torch.Tensor | None",
    command: str,
    track: Track,
) -> ExportResult:
    """Write a finished recipe, proved and compared with the reference, and measure what its report shows.

    Args:
        request: what was asked for.
        loaded: the float model.
        graph: prepared graph with the recipe's transforms, on the CPU.
        recipe: all decisions; its proof is filled.
        images: float32 calibration inputs; None where there are none.
        command: a command line that does the same again.
        track: wraps an iterable with a progress bar.
    """
    from mptq_export.export.write import load_milliseconds, write_export
    from mptq_export.report.collect import Written, write_evidence
    from mptq_export.targets.oldest import oldest_of_file

    report = write_export(
        request.out,
        loaded,
        graph,
        recipe,
        images=images,
        min_ort=request.min_ort,
        force=request.force,
        track=track,
    )
    if request.kit is not None:
        from mptq_export.kit.inputs import calibration_inputs
        from mptq_export.kit.write import write_kit

        inputs = calibration_inputs(request.out, request.calib, loaded.preprocessing, request.reading)
        write_kit(request.out, inputs, request.kit, force=request.force)
    weights = loaded.parameters * 4
    load_ms = load_milliseconds(request.out)
    size, min_ort = request.out.stat().st_size, oldest_of_file(request.out)
    aimed = warnings_of(recipe.settings.target or "ort")
    warnings = (*loaded.warnings, *recipe.settings.calibration.warnings, *aimed)
    made = (request.float_onnx, command, request.recipe, warnings)
    try:
        data = (request.calib, request.count, request.reading)
        done = Written(request.out, loaded, graph, recipe, report, weights, load_ms, *made, *data)
        write_evidence(done, images, track)
    except MptqError as error:  # the file itself is whole and proved
        warnings = (*warnings, f"what the report shows was not stored: {error}")
    return ExportResult(request, loaded, warnings, recipe, report, weights, size, load_ms, min_ort)


def reported(result: ExportResult) -> ExportResult:
    """Write OUT.report.html; where that fails, the result says so: the export itself stands."""
    from mptq_export.report.write import write_report

    try:
        write_report(result.request.out)
    except MptqError as error:
        return replace(result, warnings=(*result.warnings, f"there is no report: {error}"))
    return result
