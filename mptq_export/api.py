"""The five verbs, for programs: `load`, `calibrate`, `allocate`, `export`, `verify`.

They are what the command lines run. `from mptq_export import load` gives the same functions, and imports torch only
when one is first asked for.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mptq_export.allocate.run import Allocation, allocate
from mptq_export.calibrate.run import Calibrated, calibrate
from mptq_export.data.reading import USUAL
from mptq_export.export.mixed import check_storage, export_allocations, front_path
from mptq_export.export.outputs import check_outputs
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import ExportResult, begin, export_calibrated, export_recipe, reported
from mptq_export.load.model import LoadedModel
from mptq_export.load.run import load
from mptq_export.recipe.settings import InputType, WeightStorage
from mptq_export.support.errors import MptqError, MptqWarning
from mptq_export.support.files import check_writable
from mptq_export.support.progress import Track, untracked
from mptq_export.verify.report import VerifyReport
from mptq_export.verify.run import verify

__all__ = [
    "Allocation",
    "Calibrated",
    "ExportResult",
    "LoadedModel",
    "MptqError",
    "MptqWarning",
    "VerifyReport",
    "allocate",
    "calibrate",
    "export",
    "load",
    "verify",
]


def export(
    source: Calibrated | Allocation | LoadedModel,
    out: str | Path,
    *,
    bits: tuple[int, int] | None = None,
    pins: Mapping[str, tuple[int, int]] | None = None,
    method: str | None = None,
    reconstruct: bool = False,
    recipe: str | Path | None = None,
    input_type: InputType | None = None,
    weight_storage: WeightStorage | None = None,
    target: str | None = None,
    min_ort: str | None = None,
    float_onnx: str | Path | None = None,
    kit: str | Path | None = None,
    force: bool = False,
    track: Track = untracked,
) -> ExportResult:
    """Quantize, prove, compare with the reference, and write the ONNX file with its recipe and its report.

    Args:
        source: what is exported: a calibrated model, an allocation (its search decided the widths), or a loaded model
            with `recipe`.
        out: the ONNX file; what belongs to it is written beside it.
        bits: (weights, activations) of a calibrated model; (8, 8) where it is left out.
        pins: other widths for some layers, by shell pattern of their names; later patterns win.
        method: `best`, which is taken where it is left out, or `paper`.
        reconstruct: afterwards learn the weight codes of every block by gradient descent: minutes on a GPU.
        recipe: the `.recipe.json` of a loaded model: the same codes again, without images.
        input_type: `float32` (normalised NCHW) or `uint8` (raw NHWC pixels); None: float32, or the recipe's.
        weight_storage: `packed` (codes below 8 bits at their own width) or `int8`; None: the recipe's or the target's.
        target: the runtime that the file is for: `ort` (where it is left out), `ort-web`, `openvino` or `qnn`.
        min_ort: the oldest onnxruntime that shall open the file, such as `1.20`; weights are stored so that it can.
        float_onnx: also write the float model here.
        kit: also write a verification kit in this folder.
        force: replace existing files.
        track: wraps an iterable with a progress bar.

    Returns:
        What was written: sizes, the recipe, the comparison, and warnings.

    Raises:
        MptqError: an option does not belong to `source`, a layer cannot be proved exact, or a file cannot be written.
            Nothing is left half written.
    """
    _check_options(source, recipe, {"bits": bits, "pins": pins, "method": method, "reconstruct": reconstruct})
    calibrated = source.calibrated if isinstance(source, Allocation) else source
    loaded = calibrated.loaded if isinstance(calibrated, Calibrated) else calibrated
    settings = source.settings if isinstance(source, Allocation) else None
    request = ExportRequest(
        model=loaded.source,
        out=Path(out),
        arch=loaded.options.arch,
        model_kwargs=dict(loaded.options.model_kwargs),
        inputs=loaded.options.inputs,
        features=None if recipe or not loaded.features else tuple(feature.index for feature in loaded.features),
        trust=loaded.options.trust,
        recipe=None if recipe is None else Path(recipe),
        calib=calibrated.calib if isinstance(calibrated, Calibrated) else None,
        count=calibrated.count if isinstance(calibrated, Calibrated) else 0,
        reading=calibrated.reading if isinstance(calibrated, Calibrated) else USUAL,
        class_map=calibrated.class_map if isinstance(calibrated, Calibrated) else None,
        bits=bits or (8, 8),
        pins=dict(settings.pins if settings else pins or {}),
        method=method or (source.method if isinstance(source, Allocation) else "best"),
        reconstruct=reconstruct,
        input_type=input_type,
        weight_storage=weight_storage,
        target=target,
        min_ort=min_ort,
        float_onnx=None if float_onnx is None else Path(float_onnx),
        kit=None if kit is None else Path(kit),
        force=force,
    )
    check_outputs(request)
    if isinstance(source, Allocation):
        check_storage(request, source.settings)
        check_writable(front_path(request.out), force=force)
        begin(request, source.calibrated)
        return _told(reported(export_allocations(request, [request], [source], track)[0]), loaded)
    if isinstance(source, Calibrated):
        return _told(export_calibrated(request, source, track), loaded)
    return _told(export_recipe(request, source, track), loaded)


def _told(result: ExportResult, loaded: LoadedModel) -> ExportResult:
    """The result, after Python's own warnings told what `load` did not tell already."""
    for sentence in result.warnings:
        if sentence not in loaded.warnings:
            warnings.warn(sentence, MptqWarning, stacklevel=3)
    return result


def _check_options(
    source: Calibrated | Allocation | LoadedModel, recipe: str | Path | None, given: dict[str, Any]
) -> None:
    """Refuse options that something else decided already.

    Raises:
        MptqError: one was given, or a loaded model comes without a recipe.
    """
    if isinstance(source, LoadedModel) != (recipe is not None):
        raise MptqError("a recipe goes with a loaded model, and a loaded model with a recipe; else calibrate it first")
    decided = {Calibrated: (), Allocation: ("bits", "pins", "method"), LoadedModel: tuple(given)}[type(source)]
    named = next((name for name in decided if given[name]), None)
    if named is not None:
        by = "the recipe" if isinstance(source, LoadedModel) else "the search"
        raise MptqError(f"{named} was decided by {by}; leave it out")
