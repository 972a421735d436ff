"""The last stage: emit, prove, compare with the reference, and only then let the file and its recipe appear."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import onnx
import torch

from mptq_export.allocate.costs import Costs
from mptq_export.calibrate.sites import sites
from mptq_export.capture.graph import Graph
from mptq_export.emit.exact.emitter import emit
from mptq_export.emit.sonnx.run import spelled_out
from mptq_export.export.metadata import describe, first_stage, tie
from mptq_export.export.outputs import Outputs
from mptq_export.export.profiled import check_profiled, describe_ends
from mptq_export.export.selfcheck import selfcheck_inputs
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.detector import RANGE_KEY
from mptq_export.recipe.schema import ExportRecipe, Recipe
from mptq_export.recipe.store import recipe_writers
from mptq_export.report.profiled import Profiled
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.support.files import under_name, write_together
from mptq_export.support.memory import trim
from mptq_export.support.progress import SILENT, Progress, advancing, undivided
from mptq_export.support.version import __version__
from mptq_export.targets.min_onnxruntime import OLDEST_KEY, check_oldest, oldest_onnxruntime
from mptq_export.targets.preconditions import PRECONDITIONS_KEY, preconditions
from mptq_export.targets.rules import check_target
from mptq_export.verify.batches import MOST_BYTES
from mptq_export.verify.code_functions.exhaustive import check_tables
from mptq_export.verify.compare import verify_model
from mptq_export.verify.portable import PortableCheck
from mptq_export.verify.report import VerifyReport


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        verification: onnxruntime against `kernels_ref` on the inputs of `selfcheck`; of a portable file, against the
            simulation.
        min_ort: the oldest onnxruntime that opens it, as `major.minor`; None for a portable file.
        profiled: of a file of a profile: what it obeys, and the plain file beside it.
    """

    verification: VerifyReport | PortableCheck
    min_ort: str | None
    profiled: Profiled | None = None


def write_export(
    outputs: Outputs,
    loaded: LoadedModel,
    graph: Graph,
    recipe: ExportRecipe,
    *,
    images: torch.Tensor | None = None,
    progress: Progress = SILENT,
) -> Written:
    """Write the ONNX file and its recipe.

    Args:
        outputs: the ONNX file, the oldest onnxruntime that shall open it, and whether files are replaced.
        loaded: the float model; its preprocessing goes into the file.
        graph: prepared graph with the recipe's transforms.
        recipe: all decisions; its proof and the list of the file's parts are filled.
        images: float32 calibration inputs, some of which the file is checked on; None where there are none.
        progress: hears how far it is.

    Returns:
        What was found of the file while it was made.

    Raises:
        MptqError: a layer cannot be proved exact, the two differ, the installed onnxruntime's functions are not what is
            assumed, an image's result depends on its batch, or the disk is full; nothing is written.
    """
    macs, out = sum(Costs.of(graph).macs.values()), outputs.onnx
    with undivided(progress, "writing the file"):
        pending = [_emit_tied_model(outputs, loaded, graph, recipe)]
        check_tables(pending[0][0])
        min_ort = oldest_onnxruntime(pending[0][0])
    reports: list[VerifyReport] = []
    found: list[Profiled] = []

    def write(path: Path) -> None:
        model, plain = pending.pop()
        start = perf_counter()
        inputs = selfcheck_inputs(model, macs, images, recipe.settings.method, loaded.preprocessing)
        onnx.save(model, path)
        if plain is not None:
            again = selfcheck_inputs(model, macs, images, recipe.settings.method, loaded.preprocessing)
            found.append(check_profiled(model, plain, path, again, out.name))
        del model, plain
        trim()  # the check takes ten bytes a weight and more
        try:
            with progress.stage("checking", len(inputs)) as bar:
                report = verify_model(path, advancing(inputs, bar), most_bytes=MOST_BYTES)
        except MptqError as error:  # of a file that has a temporary name as yet
            reason = under_name(str(error), path, "it")
            raise MptqError(f"{out.name} was not written: {reason}; please report the model") from error
        if not report.passed:
            raise MptqError(
                f"{out.name} was not written: {_failure(report)}; this is a defect, please report the model"
            )
        reports.append(replace(report, inputs=dict(inputs.drawn), seconds=perf_counter() - start))

    write_together({out: write, **recipe_writers(recipe, out)}, force=outputs.force)
    return Written(reports[0], min_ort, found[0] if found else None)


def _failure(report: VerifyReport) -> str:
    """What is wrong, and where first."""
    at = f" (first in {report.diverging[0].name})" if report.diverging else ""
    found = [f"onnxruntime and kernels_ref differ in {report.differing} values{at}"]
    if report.plan.floating:
        found.append(f"{len(report.plan.floating)} matmuls ran in float (first {report.plan.floating[0].name})")
    if report.mixing:
        found.append(f"{report.mixing} values of the output depend on what else is in the batch")
    if report.reservations:
        found.append(f"not proved: {report.reservations[0]}")
    return ", ".join(found)


def _emit_tied_model(
    outputs: Outputs, loaded: LoadedModel, graph: Graph, recipe: ExportRecipe
) -> tuple[onnx.ModelProto, onnx.ModelProto | None]:
    """The proved model, with all that its file says about itself; the recipe lists its parts.

    Where the file is of a profile, the plain model comes with it.
    """
    settings = recipe.settings
    check_target(settings.target or "ort", settings.weight_storage, _widths(recipe))
    model = emit(
        graph,
        recipe,
        input_type=settings.input_type,
        producer=__version__,
        storage=settings.weight_storage,
    )
    plain = None
    if settings.profile is not None:
        plain, model = model, spelled_out(model, settings.profile.batch)
        describe_ends(model, loaded, settings)
    check_oldest(model, outputs.min_ort)
    promised = {OLDEST_KEY: oldest_onnxruntime(model), PRECONDITIONS_KEY: preconditions(settings.input_type)}
    promised |= first_stage(outputs)
    if loaded.takes_regions:
        promised[RANGE_KEY] = json.dumps(_input_range(graph, recipe))
    describe(model, loaded, settings, promised)
    tie(model, recipe)
    return model, plain


def _input_range(graph: Graph, recipe: Recipe) -> tuple[float, float]:
    """The least and the largest number of the input that has a code, of all quantizers that read it."""
    read = [site.key for site in sites(graph) if graph.root(site.value) is graph.input]
    quants = [recipe.activations[key] for key in read]
    low = min((quant.low - quant.zero_point) * quant.scale for quant in quants)
    return low, max((quant.high - quant.zero_point) * quant.scale for quant in quants)


def _widths(recipe: Recipe) -> list[tuple[int, int]]:
    """(weights, activations) of every layer; what has one of the two alone counts as 8 in the other."""
    widest = 8
    pairs = [(quant.bits, widest) for quant in recipe.weights.values()]
    return pairs + [(widest, quant.bits) for quant in recipe.activations.values()]


def load_milliseconds(path: Path) -> float:
    """Time that onnxruntime needs to make a session of a file: read, optimise, unpack the weights."""
    start = perf_counter()
    open_session(path)
    return (perf_counter() - start) * 1e3
