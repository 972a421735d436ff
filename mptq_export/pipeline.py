"""Checkpoint and images (or a recipe) in, one exact ONNX file and its recipe out: the stages in order."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mptq_export import __version__
from mptq_export.errors import MptqError
from mptq_export.files import check_writable

if TYPE_CHECKING:
    import torch

    from mptq_export.calibrate.statistics import Statistics
    from mptq_export.capture.graph import Graph
    from mptq_export.data.source import CalibrationSource
    from mptq_export.load.model import LoadedModel
    from mptq_export.recipe.schema import Recipe
    from mptq_export.verify.report import VerifyReport

Track = Callable[[Iterable[Any], str, int], Iterator[Any]]

#: Images a calibration step; bounds the memory of the activations.
BATCH = 8

#: Pixels of the calibration inputs may leave [0, 255] by this much before the inputs count as "not 8-bit pixels".
PIXEL_SLACK = 4.0


@dataclass(frozen=True)
class ExportRequest:
    """What the user asked for.

    Attributes:
        model: checkpoint path or `timm:NAME`.
        out: the ONNX file to write.
        arch: timm architecture, where the checkpoint does not name it.
        model_kwargs: arguments for `timm.create_model`.
        trust: unpickle a whole module (this runs code from the file).
        recipe: replay this file instead of calibrating; `calib`, `count`, `bits`, `pins`, `method`,
            `reconstruct` and `device` are not read.
        calib: folder or array file; None for synthetic images.
        count: largest number of calibration images.
        bits: (weights, activations).
        pins: other widths for some layers, by shell pattern of their names; later patterns win.
        method: one of `quantize.method.METHODS`.
        reconstruct: afterwards learn the weight codes of every block by gradient descent.
        input_type: `float32` or `uint8`; None: float32, or the recipe's.
        weight_storage: `packed` (codes below 8 bits at their own width) or `int8`; None: packed, or the recipe's.
        float_onnx: also write the float model here.
        kit: also write a verification kit in this folder.
        device: torch device for calibration; None takes a GPU where there is one.
        force: replace existing files.
        report: a file that the caller writes afterwards; it must not be one of the outputs.
    """

    model: str
    out: Path
    arch: str | None = None
    model_kwargs: dict[str, Any] | None = None
    trust: bool = False
    recipe: Path | None = None
    calib: Path | None = None
    count: int = 128
    bits: tuple[int, int] = (8, 8)
    pins: dict[str, tuple[int, int]] = field(default_factory=dict)
    method: str = "best"
    reconstruct: bool = False
    input_type: str | None = None
    weight_storage: str | None = None
    float_onnx: Path | None = None
    kit: Path | None = None
    device: str | None = None
    force: bool = False
    report: Path | None = None


@dataclass(frozen=True)
class ExportResult:
    """What was written, for the summary.

    Attributes:
        request: what was asked for.
        loaded: the model that was read.
        warnings: what the user should know about the model and the calibration inputs, a sentence each.
        recipe: all decisions and the proof.
        report: onnxruntime against `kernels_ref` on one random input, with the kernel plan.
        float_bytes: size of the weights in float32.
        onnx_bytes: size of the ONNX file.
        load_ms: time that onnxruntime needs to make a session of the file.
    """

    request: ExportRequest
    loaded: "LoadedModel"
    warnings: tuple[str, ...]
    recipe: "Recipe"
    report: "VerifyReport"
    float_bytes: int
    onnx_bytes: int
    load_ms: float


@dataclass(frozen=True)
class Calibrated:
    """A model that is ready to be quantized.

    Attributes:
        loaded: the model as read.
        source: the calibration inputs.
        graph: prepared canonical graph, on the device of the calibration.
        stats: ranges of its values.
        images: float32 calibration inputs, all of them, on that device.
        pixel_inputs: whether they are normalised 8-bit pixels.
    """

    loaded: "LoadedModel"
    source: "CalibrationSource"
    graph: "Graph"
    stats: "Statistics"
    images: "torch.Tensor"
    pixel_inputs: bool


def _untracked(items: Iterable[Any], _label: str, _total: int) -> Iterator[Any]:
    return iter(items)


def export_model(request: ExportRequest, track: Track = _untracked) -> ExportResult:
    """Run the whole pipeline.

    Args:
        request: what to export.
        track: wraps an iterable with a progress bar: (items, label, total).

    Returns:
        What was written. The ONNX file exists only after it was proved exact and compared with the reference.

    Raises:
        MptqError: any problem that the user can act on; nothing is left half written.
    """
    from mptq_export.report.command import command_of

    check_outputs(request)
    images = None
    if request.recipe:
        loaded, warnings, graph, recipe = _replayed(request)
    else:
        calibrated = calibrate_model(request, track)
        loaded, warnings, images = calibrated.loaded, calibrated.source.warnings, calibrated.images
        graph, recipe = _built(request, calibrated, track)
    return reported(written(request, loaded, warnings, graph, recipe, images, command_of(request), track))


def written(
    request: ExportRequest,
    loaded: "LoadedModel",
    warnings: tuple[str, ...],
    graph: "Graph",
    recipe: "Recipe",
    images: "torch.Tensor | None",
    command: str,
    track: Track,
) -> ExportResult:
    """Write a finished recipe, proved and compared with the reference, and measure what its report shows.

    Args:
        request: what was asked for.
        loaded: the float model.
        warnings: what the user should know.
        graph: prepared graph with the recipe's transforms, on the CPU.
        recipe: all decisions; its proof is filled.
        images: float32 calibration inputs; None where there are none.
        command: a command line that does the same again.
        track: wraps an iterable with a progress bar.
    """
    from mptq_export.report.collect import Written, write_evidence
    from mptq_export.write import load_milliseconds, write_export

    report = write_export(request.out, loaded, graph, recipe, force=request.force)
    if request.kit is not None:
        from mptq_export.kit.inputs import calibration_inputs
        from mptq_export.kit.write import write_kit

        inputs = calibration_inputs(request.out, request.calib, loaded.preprocessing)
        write_kit(request.out, inputs, request.kit, force=request.force)
    weights = sum(p.numel() for p in loaded.model.parameters()) * 4
    load_ms = load_milliseconds(request.out)
    size = request.out.stat().st_size
    made = (request.float_onnx, command, request.recipe)
    try:
        write_evidence(Written(request.out, loaded, graph, recipe, report, weights, load_ms, *made), images, track)
    except MptqError as error:  # the file itself is whole and proved
        warnings = (*warnings, f"what the report shows was not stored: {error}")
    return ExportResult(request, loaded, (*loaded.notes, *warnings), recipe, report, weights, size, load_ms)


def reported(result: ExportResult) -> ExportResult:
    """Write OUT.report.html; where that fails, the result says so: the export itself stands."""
    from mptq_export.report.write import write_report

    try:
        write_report(result.request.out)
    except MptqError as error:
        return replace(result, warnings=(*result.warnings, f"there is no report: {error}"))
    return result


def check_outputs(request: ExportRequest) -> None:
    """Refuse outputs that cannot be written, are an input, or are one file twice."""
    from mptq_export.recipe.store import recipe_paths, tensors_path
    from mptq_export.report.paths import evidence_path, report_path

    inputs = {Path(request.model).resolve()}
    replayed = {path.resolve() for path in (request.recipe, tensors_path(request.recipe))} if request.recipe else set()
    taken: set[Path] = set()
    models = [request.out, *([request.float_onnx] if request.float_onnx else [])]
    for path in [*models, *recipe_paths(request.out), report_path(request.out), evidence_path(request.out)]:
        # A replayed recipe may be written over itself.
        if path.resolve() in inputs | taken | (replayed if path in models else set()):
            raise MptqError(
                f"cannot write {path}: the checkpoint, the recipe or another output has that name; choose another -o"
            )
        taken.add(path.resolve())
        check_writable(path, force=request.force)
    if request.report is not None and request.report.resolve() in inputs | replayed | taken:
        raise MptqError(f"--json {request.report} names the checkpoint, the recipe or an output; choose another file")
    if request.kit is not None:
        from mptq_export.kit.folder import check_kit_folder

        outside = (Path(request.model), *models, *([request.report] if request.report else []))
        check_kit_folder(request.kit, force=request.force, outside=outside)


def _load(request: ExportRequest) -> "LoadedModel":
    from mptq_export.load.model import load_model

    return load_model(request.model, arch=request.arch, model_kwargs=request.model_kwargs, trust=request.trust)


def _probe(request: ExportRequest, loaded: "LoadedModel", source: "CalibrationSource") -> "torch.Tensor":
    """Two inputs on which every rewrite of the model is checked, and the float companion, if it is asked for."""
    import torch

    inputs = next(iter(source.batches(2)))
    if request.float_onnx is not None:
        from mptq_export.emit.float_onnx import write_float_onnx

        write_float_onnx(loaded.model, inputs, request.float_onnx)
    return torch.from_numpy(inputs)


def _replayed(request: ExportRequest) -> "tuple[LoadedModel, tuple[str, ...], Graph, Recipe]":
    """Model and graph of a recipe; synthetic images are only the probe of the rewrites."""
    from mptq_export.data.source import open_calibration
    from mptq_export.recipe.store import read_recipe
    from mptq_export.replay import check_model, replay_graph, replay_settings

    assert request.recipe is not None
    recipe = read_recipe(request.recipe)
    recipe = replay_settings(request.recipe, recipe, request.input_type, request.weight_storage)
    loaded = _load(request)
    check_model(request.recipe, recipe, identity_of(loaded), loaded.preprocessing.to_metadata())
    probe = _probe(request, loaded, open_calibration(None, loaded.preprocessing, count=2))
    return loaded, (), replay_graph(request.recipe, recipe, loaded, probe), recipe


def _device(name: str | None) -> str:
    """The torch device for calibration.

    Raises:
        MptqError: torch does not know it, or it is not there.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MptqError(f"--device {name} cannot be used ({str(error).splitlines()[0]}); try --device cpu") from error
    return name


def calibrate_model(request: ExportRequest, track: Track = _untracked) -> Calibrated:
    """Load, capture, prepare and run the calibration inputs.

    Raises:
        MptqError: the model or the images cannot be used, or they are no pixels and `input_type` is `uint8`.
    """
    import torch

    from mptq_export.calibrate.statistics import collect
    from mptq_export.capture.trace import capture
    from mptq_export.data.source import open_calibration
    from mptq_export.transform import prepare

    device = _device(request.device)
    loaded = _load(request)
    source = open_calibration(request.calib, loaded.preprocessing, count=request.count)
    preprocessing = loaded.preprocessing
    probe = _probe(request, loaded, source)
    captured = capture(loaded.model, preprocessing.input_size)
    steps = -(-source.count // BATCH)

    def run(normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None) -> "tuple[Graph, Statistics]":
        graph = prepare(captured, probe, normalisation)
        return graph, collect(graph, track(source.batches(BATCH), "calibrating", steps), device)

    graph, stats = run((preprocessing.mean, preprocessing.std))
    seen = stats.values.get("pixels")
    pixel_inputs = seen is None or (seen.low >= -PIXEL_SLACK and seen.high <= 255 + PIXEL_SLACK)
    if not pixel_inputs:
        if request.input_type == "uint8":
            raise MptqError(
                f"{request.calib}: the calibration inputs are not 8-bit pixels normalised with mean "
                f"{preprocessing.mean} and std {preprocessing.std}; --input uint8 needs such inputs"
            )
        graph, stats = run(None)
    images = torch.cat([torch.from_numpy(batch).to(device) for batch in source.batches(BATCH)])
    return Calibrated(loaded, source, graph.to(device), stats, images, pixel_inputs)


def _built(request: ExportRequest, calibrated: Calibrated, track: Track) -> "tuple[Graph, Recipe]":
    """All quantizers, and the graph with the transforms that they were chosen for, on the CPU."""
    from mptq_export.allocate.units import pinned_widths
    from mptq_export.quantize.build import build_recipe
    from mptq_export.quantize.method import METHODS

    prepared = calibrated.graph
    pinned = pinned_widths(prepared, request.pins)
    text = "{}/{}".format(*request.bits) + (f", {len(pinned)} layers pinned" if pinned else "")
    settings = recipe_settings(request, calibrated, text)
    bar = track(prepared, "quantizing", len(prepared.nodes))
    next(bar, None)
    graph, recipe = build_recipe(
        prepared,
        calibrated.stats,
        calibrated.images,
        lambda layer: pinned.get(layer, request.bits),
        METHODS[request.method],
        identity_of(calibrated.loaded),
        settings,
        lambda _node: next(bar, None),
    )
    return learned(request, calibrated, graph, recipe, track)


def recipe_settings(request: ExportRequest, calibrated: Calibrated, bits: str) -> dict[str, Any]:
    """How an export was asked for, as recipes store it."""
    return {
        "bits": bits,
        "pins": {pattern: "{}/{}".format(*widths) for pattern, widths in request.pins.items()},
        "method": request.method,
        "reconstruct": request.reconstruct,
        "input": request.input_type or "float32",
        "weight_storage": request.weight_storage or "packed",
        "pixel_inputs": calibrated.pixel_inputs,
        "calibration": calibrated.source.description,
        "calibration_images": calibrated.stats.images,
        "preprocessing": calibrated.loaded.preprocessing.to_metadata(),
        "versions": {"mptq-export": __version__, **{name: version(name) for name in ("torch", "timm", "onnx")}},
    }


def learned(
    request: ExportRequest, calibrated: Calibrated, graph: "Graph", recipe: "Recipe", track: Track
) -> "tuple[Graph, Recipe]":
    """The recipe with learned codes where they are asked for, and its graph on the CPU."""
    if request.reconstruct:
        from mptq_export.capture.blocks import split_blocks
        from mptq_export.quantize.reconstruct import reconstruct

        blocks = split_blocks(graph)
        bar = track(blocks, "learning", len(blocks))
        next(bar, None)
        recipe = reconstruct(graph, recipe, calibrated.images, lambda _block: next(bar, None))
    return graph.to("cpu"), recipe


def identity_of(loaded: "LoadedModel") -> dict[str, Any]:
    """Architecture, arguments and weights of a model, as recipes store them."""
    return {
        "arch": loaded.arch,
        "model_kwargs": loaded.model_kwargs,
        "arch_source": loaded.arch_source,
        "weights_sha256": weights_digest(loaded.model.state_dict()),
    }


def weights_digest(state: dict[str, Any]) -> str:
    """SHA-256 over names and bytes of a state dict, in sorted order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
