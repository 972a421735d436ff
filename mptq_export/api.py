"""The five verbs, for programs: `load`, `calibrate`, `allocate`, `export`, `verify`.

They are what the command lines run. `from mptq_export import load` gives the same functions, and imports torch only
when one is first asked for.
"""

import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mptq_export.allocate.allocation import Allocation
from mptq_export.allocate.run import allocate
from mptq_export.allocate.stored_search import Search, open_search
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.calibrate.run import calibrate
from mptq_export.export.build import Build, ReplayedBuild, SearchedBuild, UniformBuild
from mptq_export.export.outputs import Outputs, ProfileChoice
from mptq_export.export.plan import Plan, Replayed, Searched, Uniform
from mptq_export.export.refusals import check_loaded
from mptq_export.export.run import check_and_write_companion, export_built
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.run import load
from mptq_export.recipe.settings import InputType, MethodName, WeightStorage
from mptq_export.report.result import ExportResult
from mptq_export.support.errors import MptqError, MptqWarning
from mptq_export.support.progress import SILENT, Progress
from mptq_export.verify.report import VerifyReport
from mptq_export.verify.run import verify

__all__ = [
    "Allocation",
    "Calibrated",
    "ExportResult",
    "LoadedModel",
    "MptqError",
    "MptqWarning",
    "Search",
    "VerifyReport",
    "allocate",
    "calibrate",
    "export",
    "load",
    "open_search",
    "verify",
]


def export(
    source: Calibrated | Allocation | LoadedModel,
    out: str | Path,
    *,
    bits: tuple[int, int] | None = None,
    pins: Mapping[str, tuple[int, int]] | None = None,
    method: MethodName | None = None,
    reconstruct: bool = False,
    resume: bool = False,
    residual_bits: int | None = None,
    recipe: str | Path | None = None,
    input_type: InputType | None = None,
    weight_storage: WeightStorage | None = None,
    target: str | None = None,
    min_ort: str | None = None,
    profile: ProfileChoice | None = None,
    batch: int | None = None,
    float_onnx: str | Path | None = None,
    one_file: bool = False,
    kit: str | Path | None = None,
    dossier: str | Path | None = None,
    context: str | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> ExportResult:
    """Quantize, prove, compare with the reference, and write the ONNX file with its recipe and its report.

    Args:
        source: what is exported: a calibrated model, an allocation (its search decided the widths), or a loaded model
            with `recipe`.
        out: the ONNX file; what belongs to it is written beside it.
        bits: (weights, activations) of a calibrated model; (8, 8) where it is left out.
        pins: other widths for some layers, by shell pattern of their names; later patterns win.
        method: `best`, which is taken where it is left out, `paper` or `minmax`.
        reconstruct: afterwards learn rounding, scales and ranges of every block by gradient descent: minutes on a GPU.
        resume: go on with an interrupted reconstruction of the same file.
        residual_bits: width of the residual, 8 or 16, for a target that has codes there; None: the best that it takes.
        recipe: the `.recipe.json` of a loaded model: the same codes again, without images.
        input_type: `float32` (normalised NCHW) or `uint8` (raw NHWC pixels); None: float32, or the recipe's.
        weight_storage: `packed` (codes below 8 bits at their own width) or `int8`; None: the recipe's or the target's.
        target: the runtime that the file is for, a name of `targets.table.TARGETS`: `ort` (where it is left out) and
            `ort-web` get the exact form, all others the portable one.
        min_ort: the oldest onnxruntime that shall open the file, such as `1.20`; weights are stored so that it can.
        profile: `sonnx`: the same bits in a file that leaves nothing implicit, for a fixed batch; `none`; None: none,
            or the recipe's.
        batch: inputs that a file of a profile takes at once; None: 1, or the recipe's.
        float_onnx: also write the float model here.
        one_file: of a detector, also write `OUT.one.onnx`, as `join_detector` does.
        kit: also write a verification kit in this folder.
        dossier: also write a dossier in this folder: what argues that the file is exact, and its evidence.
        context: in the kit of a file for `qnn`, also the file as HTP's compiler prepares it for this SoC.
        force: replace existing files.
        progress: hears how far it is.

    Returns:
        What was written: sizes, the recipe, the comparison, and warnings.

    Raises:
        MptqError: an option does not belong to `source`, a layer cannot be proved exact, or a file cannot be written.
            Nothing is left half written.
    """
    given = {
        "bits": bits,
        "pins": pins,
        "method": method,
        "reconstruct": reconstruct,
        "resume": resume,
        "residual_bits": residual_bits,
    }
    plan = _plan(source, recipe, {name: value for name, value in given.items() if value})
    if isinstance(source, Allocation):
        if target not in (None, source.target):
            raise MptqError(f"target was decided by the search ({source.target or 'ort'}); leave it out")
        target = source.target
    outputs = Outputs(
        onnx=Path(out),
        float_onnx=None if float_onnx is None else Path(float_onnx),
        one_file=one_file,
        kit=None if kit is None else Path(kit),
        dossier=None if dossier is None else Path(dossier),
        context=context,
        input_type=input_type,
        weight_storage=weight_storage,
        target=target,
        min_ort=min_ort,
        profile=profile,
        batch=batch,
        force=force,
    ).fitting(plan)
    calibrated = source.calibrated if isinstance(source, Allocation) else source
    if isinstance(calibrated, Calibrated):
        loaded, read = calibrated.loaded, (calibrated.asked.images, calibrated.asked.class_map)
    else:
        loaded, read = calibrated, (None, None)
    outputs.check(plan, loaded.asked.name, *read)
    check_loaded(outputs, plan, loaded, *read)
    ready = _ready(plan, source, outputs)
    check_and_write_companion(plan, outputs, ready.loaded, ready.calibrated, progress)
    (result,) = export_built([ready], outputs, progress)
    told = (sentence for each in (result, *result.heads) for sentence in each.warnings)
    for sentence in dict.fromkeys(told):
        if sentence not in loaded.warnings:  # `load` told those
            warnings.warn(sentence, MptqWarning, stacklevel=2)
    return result


def _plan(source: Calibrated | Allocation | LoadedModel, recipe: str | Path | None, told: dict[str, Any]) -> Plan:
    """The plan that goes with a source.

    Raises:
        MptqError: what is told was decided by something else already, or a loaded model comes without a recipe.
    """
    if isinstance(source, LoadedModel) != (recipe is not None):
        raise MptqError("a recipe goes with a loaded model, and a loaded model with a recipe; else calibrate it first")
    searched = isinstance(source, Allocation)
    kind: type[Plan] = Searched if searched else Uniform if recipe is None else Replayed
    # An allocation holds what its search was told.
    free = {each.name for each in fields(kind)} - {each.name for each in fields(source) if searched}
    decided = next((name for name in told if name not in free), None)
    if decided is not None:
        raise MptqError(f"{decided} was decided by the {'search' if searched else 'recipe'}; leave it out")
    if isinstance(source, Allocation):
        settings = replace(source.settings, budgets=(source.found.budget,))
        return Searched(settings, source.method, residual_bits=source.residual_bits, **told)
    return Uniform(**told) if recipe is None else Replayed(Path(recipe))


def _ready(plan: Plan, source: Calibrated | Allocation | LoadedModel, outputs: Outputs) -> Build:
    """A source with the plan that goes with it."""
    if isinstance(plan, Replayed) and isinstance(source, LoadedModel):
        return ReplayedBuild.read(plan, source, outputs)
    if isinstance(plan, Searched) and isinstance(source, Allocation):
        return SearchedBuild(plan, source)
    assert isinstance(plan, Uniform) and isinstance(source, Calibrated)
    return UniformBuild.of(plan, source, outputs)
