"""The one way of an export: load, calibrate, search; then build, write, prove and report every file."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from mptq_export.allocate.allocation import Aim
from mptq_export.allocate.pick import picked
from mptq_export.allocate.run import search_widths
from mptq_export.allocate.stored_search import Search, open_search
from mptq_export.calibrate.calibrated import Calibrated, torch_device
from mptq_export.calibrate.run import calibrate_model
from mptq_export.capture.graph import Graph
from mptq_export.capture.mapped_tensors import put_aside
from mptq_export.capture.size import size_of
from mptq_export.data.probe import probe_inputs
from mptq_export.dossier.write import write_dossier
from mptq_export.emit.float_onnx import write_float_onnx
from mptq_export.export.build import Build, ReplayedBuild, SearchedBuild, UniformBuild
from mptq_export.export.command import command_of
from mptq_export.export.expected import ExportWork, files
from mptq_export.export.forms import simulation_of
from mptq_export.export.one_file import join_detector
from mptq_export.export.outputs import Outputs
from mptq_export.export.parts import export_with_heads
from mptq_export.export.plan import Picked, Plan, Replayed, Searched, Uniform
from mptq_export.export.refusals import (
    check_calibrated,
    check_layers,
    check_loaded,
    check_weights,
)
from mptq_export.export.request import ExportRequest
from mptq_export.export.write import Written, load_milliseconds, write_export
from mptq_export.export.write_portable import write_portable
from mptq_export.kit.inputs import golden_inputs
from mptq_export.kit.write import write_kit
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_asked
from mptq_export.quantize.reconstruct.journal import remove_journal
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.report.deployed import FloatOutputs
from mptq_export.report.measure import write_evidence
from mptq_export.report.result import ExportResult
from mptq_export.report.write import write_report
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import SILENT, Listener, Progress, undivided
from mptq_export.targets.rules import warnings_of


def export_model(request: ExportRequest, progress: Listener = SILENT) -> list[ExportResult]:
    """Run an export from its checkpoint on.

    Args:
        request: what to export.
        progress: hears how far it is, and the warnings of the model and of the calibration before the long work.

    Returns:
        What was written, one result a budget of a search. An ONNX file exists only after it was proved exact and
        compared with the reference.

    Raises:
        MptqError: any problem that the user can act on; nothing is left half written.
    """
    request.check()
    return export_checked(request, progress)


def export_checked(request: ExportRequest, progress: Listener) -> list[ExportResult]:
    """`export_model` of a request that was checked."""
    plan, outputs = request.plan, request.outputs.fitting(request.plan)
    if isinstance(plan, Replayed):
        stored = ReplayedBuild.read(plan, _load(request, outputs, progress), outputs)
        progress.warn(stored.recipe.settings.calibration.warnings)
        check_and_write_companion(plan, outputs, stored.loaded, progress=progress)
        return export_built([stored], outputs, progress)
    if isinstance(plan, Searched):
        progress.warn(plan.search.warnings)
    search = _search_of(plan) if isinstance(plan, Picked) else None
    calibrated = _calibrate(request, plan, outputs, progress)
    progress.expect(files([_work(each, plan, outputs) for each in (calibrated, *calibrated.heads)]))
    check_and_write_companion(plan, outputs, calibrated.loaded, calibrated, progress)
    if isinstance(plan, Uniform):
        return export_built([UniformBuild.of(plan, calibrated, outputs)], outputs, progress)
    if search is not None:
        with undivided(progress, "weighing rows"):
            answers = picked(search, plan.search.budgets, calibrated)
        return export_built([SearchedBuild(plan, each) for each in answers], outputs, progress)
    aim = Aim(outputs.target, plan.residual_bits, outputs.input_type)
    journal = outputs.journal
    if plan.resume and not journal.exists():  # it was done, and goes on to narrower widths
        open_search(outputs.front).write_journal(journal)
    found = search_widths(calibrated, plan.search, plan.method, journal, aim=aim, resume=plan.resume, progress=progress)
    results = export_built([SearchedBuild(plan, each) for each in found], outputs, progress)
    journal.unlink()
    return results


def _search_of(plan: Picked) -> Search:
    """The search of a plan; budgets that it cannot answer are refused before anything is calibrated."""
    search = open_search(plan.file)
    for budget in plan.search.budgets:
        search.answer(budget)
    return search


def check_and_write_companion(
    plan: Plan,
    outputs: Outputs,
    loaded: LoadedModel,
    calibrated: Calibrated | None = None,
    progress: Progress = SILENT,
) -> None:
    """What comes before the long work: refuse what cannot be, write the float companion.

    Raises:
        MptqError: the calibration inputs do not fit the outputs or the memory, or there is no companion.
    """
    if calibrated is not None and not isinstance(plan, Replayed):
        check_calibrated(plan, outputs, calibrated)
    if outputs.float_onnx is not None:
        names = [each.name for each in loaded.outputs]
        with undivided(progress, "writing the float model"):
            write_float_onnx(loaded.model, probe_inputs(loaded.preprocessing, 2), outputs.float_onnx, names)
    heads = calibrated.heads if calibrated is not None else (None,) * len(loaded.heads)
    for head, own in zip(loaded.heads, heads, strict=True):
        assert head.detector is not None
        check_and_write_companion(plan, outputs.of_part(head.detector.part), head, own, progress)


def export_built(ready: Sequence[Build], outputs: Outputs, progress: Progress) -> list[ExportResult]:
    """Build and write one file after the other, then their pages.

    Args:
        ready: one for every file; several are of the budgets of one search.
        outputs: what is written, checked.
        progress: hears how far it is.
    """
    first = ready[0]
    floating = {
        each.loaded.detector: FloatOutputs(each.loaded.model, each.loaded.outputs) for each in (first, *first.heads)
    }
    results, writers = [], []
    for whole, one in zip(ready, outputs.of_each(first.plan), strict=True):
        calibration = None if whole.calibrated is None else whole.calibrated.asked
        command = command_of(whole.loaded.asked, whole.plan, replace(one, onnx=outputs.onnx), calibration)

        def export_one(build: Build, own: Outputs, command: str = command) -> ExportResult:
            return _export_one(build, own, command, floating[build.loaded.detector], progress)

        result = export_with_heads(whole, one, export_one, progress)
        if one.one_file:
            result = replace(result, one_file=join_detector(one.onnx, one.joined, force=one.force).path)
        results.append(result)
        writers.append((whole, one))
    if isinstance(first, SearchedBuild):
        front = outputs.front_of(first.plan)
        if front is not None:
            first.allocation.search.write(front)
    if not isinstance(first.plan, Replayed) and first.plan.reconstruct:
        for own in (own for each in results for own in (each, *each.heads)):
            remove_journal(Outputs(own.onnx).learned)
    with undivided(progress, "writing the report"):
        results = [replace(_write_page(each), heads=tuple(map(_write_page, each.heads))) for each in results]
    if outputs.dossier is None:
        return results
    with undivided(progress, "writing the dossier"):
        return [_with_dossiers(each, *made_from) for each, made_from in zip(results, writers, strict=True)]


def _work(calibrated: Calibrated, plan: Plan, outputs: Outputs) -> ExportWork:
    """What decides how long the export of one network takes."""
    height, width = calibrated.loaded.preprocessing.input_size[1:]
    return ExportWork(size_of(calibrated.graph), height * width, len(calibrated.images), plan, outputs.target)


def _load(request: ExportRequest, outputs: Outputs, progress: Listener) -> LoadedModel:
    calibration = request.calibration
    with undivided(progress, "loading the model"):
        loaded = load_asked(request.model)
    height, width = loaded.preprocessing.input_size[1:]
    progress.expect(ExportWork.guess(request, loaded.parameters, height * width).stages())
    progress.warn(loaded.warnings)
    check_loaded(outputs, request.plan, loaded, calibration.images, calibration.class_map)
    return loaded


def _calibrate(request: ExportRequest, plan: Uniform | Searched, outputs: Outputs, progress: Listener) -> Calibrated:
    torch_device(request.calibration.device)
    loaded = _load(request, outputs, progress)
    check_weights(plan, outputs, loaded)
    checked = plan if not loaded.heads else plan.without_pins()  # each names layers of one network
    calibrated = calibrate_model(loaded, request.calibration, progress, partial(check_layers, checked, outputs))
    for each in (calibrated, *calibrated.heads):
        progress.warn(each.source.warnings)
    return calibrated


def _export_one(
    ready: Build, outputs: Outputs, command: str, floating: FloatOutputs, progress: Progress
) -> ExportResult:
    """Build and write one file, proved and compared with the reference, and measure what its report shows.

    Args:
        ready: what it is built from.
        outputs: its own.
        command: the command line that does the same again.
        floating: what the float model gives for the images that files are compared with it on.
        progress: hears how far it is.
    """
    loaded, calibrated = ready.loaded, ready.calibrated
    graph, recipe = ready.build(outputs, progress)
    graph = put_aside(graph)
    images = None if calibrated is None else calibrated.images
    written = _write(outputs, loaded, (graph, recipe), images, progress)
    if outputs.kit is not None:
        with undivided(progress, "writing the kit"):
            inputs = golden_inputs(outputs.onnx, None if images is None else images.cpu().numpy(), loaded.preprocessing)
            write_kit(outputs.onnx, inputs, outputs.kit, context=outputs.context, force=outputs.force)
    aimed = warnings_of(recipe.settings.target or "ort")
    searched = ready.plan.search.warnings if isinstance(ready.plan, Searched) else ()
    result = ExportResult(
        onnx=outputs.onnx,
        float_onnx=outputs.float_onnx,
        kit=outputs.kit,
        replayed=ready.plan.recipe if isinstance(ready.plan, Replayed) else None,
        command=command,
        loaded=loaded,
        recipe=recipe,
        verification=written.verification,
        float_bytes=loaded.parameters * 4,
        onnx_bytes=outputs.onnx.stat().st_size,
        load_ms=load_milliseconds(outputs.onnx),
        min_ort=written.min_ort,
        warnings=(*searched, *loaded.warnings, *recipe.settings.calibration.warnings, *aimed),
        profiled=written.profiled,
        available=None if calibrated is None else calibrated.source.available,
    )
    try:
        simulated, traced = (graph, simulation_of(graph, recipe)), outputs.dossier is not None
        evidence = write_evidence(result, simulated, calibrated, floating, progress, traced=traced)
    except MptqError as error:  # the file itself is whole and proved
        return replace(result, warnings=(*result.warnings, f"what the report shows was not stored: {error}"))
    return replace(result, evidence=evidence)


def _write(
    outputs: Outputs,
    loaded: LoadedModel,
    built: tuple[Graph, ExportRecipe],
    images: torch.Tensor | None,
    progress: Progress,
) -> Written:
    """Write the file in the form of its recipe: what its check found, and the oldest onnxruntime where it is known."""
    graph, recipe = built
    if recipe.settings.form == "portable":
        return Written(write_portable(outputs, loaded, graph, recipe, images=images, progress=progress), None)
    return write_export(outputs, loaded, graph, recipe, images=images, progress=progress)


def _with_dossiers(result: ExportResult, ready: Build, outputs: Outputs) -> ExportResult:
    """Write what argues for a file, and of a detector of two stages for each of its files, if that was asked for."""
    if outputs.dossier is None:
        return result
    images = None if ready.calibrated is None else ready.calibrated.images.cpu().numpy()
    told = write_dossier(result.onnx, outputs.dossier, images, force=outputs.force)
    builds: Sequence[Build] = ready.heads
    heads = []
    for head, own in zip(result.heads, builds, strict=True):
        assert own.loaded.detector is not None
        heads.append(_with_dossiers(head, own, outputs.of_part(own.loaded.detector.part)))
    return replace(result, dossier=outputs.dossier, warnings=(*result.warnings, *told), heads=tuple(heads))


def _write_page(result: ExportResult) -> ExportResult:
    """Write OUT.report.html; where that fails, the result says so: the export itself stands."""
    try:
        write_report(result.onnx)
    except MptqError as error:
        return replace(result, warnings=(*result.warnings, f"there is no report: {error}"))
    return result
