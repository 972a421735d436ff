"""Checkpoint and images in, one exact ONNX file and its recipe out: the stages in order."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mptq_export import __version__
from mptq_export.errors import MptqError
from mptq_export.files import check_writable, write_together

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        calib: folder or array file; None for synthetic images.
        count: largest number of calibration images.
        bits: (weights, activations).
        input_type: `float32` or `uint8`.
        weight_storage: `packed` (codes below 8 bits at their own width) or `int8`.
        float_onnx: also write the float model here.
        device: torch device for calibration; None takes a GPU where there is one.
        force: replace existing files.
        report: a file that the caller writes afterwards; it must not be one of the outputs.
    """

    model: str
    out: Path
    arch: str | None = None
    model_kwargs: dict[str, Any] | None = None
    trust: bool = False
    calib: Path | None = None
    count: int = 128
    bits: tuple[int, int] = (8, 8)
    input_type: str = "float32"
    weight_storage: str = "packed"
    float_onnx: Path | None = None
    device: str | None = None
    force: bool = False
    report: Path | None = None


@dataclass(frozen=True)
class ExportResult:
    """What was written, for the summary.

    Attributes:
        request: what was asked for.
        loaded: the model that was read.
        source: the calibration inputs.
        recipe: all decisions and the proof.
        report: onnxruntime against `kernels_ref` on one random input, with the kernel plan.
        float_bytes: size of the weights in float32.
        onnx_bytes: size of the ONNX file.
    """

    request: ExportRequest
    loaded: "LoadedModel"
    source: "CalibrationSource"
    recipe: "Recipe"
    report: "VerifyReport"
    float_bytes: int
    onnx_bytes: int


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
    _check_outputs(request)
    device = _device(request.device)
    from mptq_export.data.source import open_calibration
    from mptq_export.load.model import load_model

    loaded = load_model(request.model, arch=request.arch, model_kwargs=request.model_kwargs, trust=request.trust)
    source = open_calibration(request.calib, loaded.preprocessing, count=request.count)
    if request.float_onnx is not None:
        from mptq_export.emit.float_onnx import write_float_onnx

        write_float_onnx(loaded.model, next(iter(source.batches(2))), request.float_onnx)
    graph, stats = _calibrated(request, loaded, source, device, track)
    recipe = _recipe(request, loaded, source, graph, stats)
    report = _write(request, loaded, graph, recipe)
    weights = sum(p.numel() for p in loaded.model.parameters()) * 4
    return ExportResult(request, loaded, source, recipe, report, weights, request.out.stat().st_size)


def _check_outputs(request: ExportRequest) -> None:
    """Refuse outputs that cannot be written, are the checkpoint itself, or are one file twice."""
    from mptq_export.recipe.store import recipe_paths

    outputs = [request.out, *recipe_paths(request.out), *([request.float_onnx] if request.float_onnx else [])]
    taken = {Path(request.model).resolve()}
    for path in outputs:
        if path.resolve() in taken:
            raise MptqError(f"cannot write {path}: the checkpoint or another output has that name; choose another -o")
        taken.add(path.resolve())
        check_writable(path, force=request.force)
    if request.report is not None and request.report.resolve() in taken:
        raise MptqError(f"--json {request.report} names the checkpoint or an output; choose another file")


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


def _calibrated(
    request: ExportRequest, loaded: "LoadedModel", source: "CalibrationSource", device: str, track: Track
) -> "tuple[Graph, Statistics]":
    """Capture, prepare and run the calibration inputs."""
    import torch

    from mptq_export.calibrate.statistics import collect
    from mptq_export.capture.trace import capture
    from mptq_export.transform import prepare

    preprocessing = loaded.preprocessing
    captured = capture(loaded.model, preprocessing.input_size)
    probe = torch.from_numpy(next(iter(source.batches(2))))
    steps = -(-source.count // BATCH)

    def run(normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None) -> "tuple[Graph, Statistics]":
        graph = prepare(captured, probe, normalisation)
        return graph, collect(graph, track(source.batches(BATCH), "calibrating", steps), device)

    graph, stats = run((preprocessing.mean, preprocessing.std))
    seen = stats.values.get("pixels")
    if seen is None or (seen.low >= -PIXEL_SLACK and seen.high <= 255 + PIXEL_SLACK):
        return graph, stats
    if request.input_type == "uint8":
        raise MptqError(
            f"{request.calib}: the calibration inputs are not 8-bit pixels normalised with mean {preprocessing.mean} "
            f"and std {preprocessing.std}; --input uint8 needs such inputs"
        )
    return run(None)


def _recipe(
    request: ExportRequest, loaded: "LoadedModel", source: "CalibrationSource", graph: "Graph", stats: "Statistics"
) -> "Recipe":
    from mptq_export.quantize.build import build_recipe

    model = {
        "arch": loaded.arch,
        "model_kwargs": loaded.model_kwargs,
        "arch_source": loaded.arch_source,
        "weights_sha256": weights_digest(loaded.model.state_dict()),
    }
    settings = {
        "bits": "{}/{}".format(*request.bits),
        "input": request.input_type,
        "weight_storage": request.weight_storage,
        "calibration": source.description,
        "calibration_images": stats.images,
        "preprocessing": loaded.preprocessing.to_metadata(),
        "versions": {"mptq-export": __version__, **{name: version(name) for name in ("torch", "timm", "onnx")}},
    }
    return build_recipe(graph, stats, request.bits, model, settings)


def _write(request: ExportRequest, loaded: "LoadedModel", graph: "Graph", recipe: "Recipe") -> "VerifyReport":
    """Emit, prove, compare with the reference, and only then let the file and its recipe appear."""
    import onnx

    from mptq_export.emit.emitter import emit
    from mptq_export.recipe.store import recipe_writers, to_json
    from mptq_export.verify.compare import verify_model

    model = emit(
        graph,
        recipe,
        input_type=request.input_type,
        metadata={},
        producer=__version__,
        storage=request.weight_storage,
    )
    metadata = {
        **loaded.preprocessing.to_metadata(),
        "mptq.arch": loaded.arch,
        "mptq.bits": recipe.settings["bits"],
        "mptq.recipe_sha256": hashlib.sha256(to_json(recipe).encode()).hexdigest(),
    }
    if loaded.class_names:
        metadata["mptq.class_names"] = json.dumps(loaded.class_names)
    onnx.helper.set_model_props(model, metadata)
    reports: list[VerifyReport] = []

    def write(path: Path) -> None:
        onnx.save(model, path)
        report = verify_model(path, [_random_image(request.input_type, loaded.preprocessing.input_size)])
        if not report.passed:
            raise MptqError(
                f"{request.out.name} was not written: onnxruntime and kernels_ref differ in {report.differing} "
                f"values, {len(report.plan.floating)} matmuls ran in float; this is a defect, please report the model"
            )
        reports.append(report)

    write_together({request.out: write, **recipe_writers(recipe, request.out)})
    return reports[0]


def _random_image(input_type: str, size: tuple[int, int, int]) -> "NDArray[np.generic]":
    """One deterministic input of the file's own type."""
    import numpy as np

    generator = np.random.default_rng(0)
    channels, height, width = size
    if input_type == "uint8":
        return generator.integers(0, 256, (1, height, width, channels), dtype=np.uint8)
    return generator.standard_normal((1, channels, height, width), dtype=np.float32)


def weights_digest(state: dict[str, Any]) -> str:
    """SHA-256 over names and bytes of a state dict, in sorted order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
