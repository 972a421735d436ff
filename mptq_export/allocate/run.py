"""The third stage, where widths are searched: a calibrated model and budgets -> widths of every layer."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mptq_export.allocate.allocation import Aim, Allocation, graph_of, work_of
from mptq_export.allocate.budget import Budget
from mptq_export.allocate.expected import search_stages
from mptq_export.allocate.forms import search_form
from mptq_export.allocate.parts import search_detector
from mptq_export.allocate.pick import SearchedModel, allocations, terms_of
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest, check_journal, check_timed
from mptq_export.allocate.search import search
from mptq_export.allocate.width_domain import width_domain
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.quantize.method import METHODS
from mptq_export.quantize.target_form import form_for
from mptq_export.recipe.metric import Metric
from mptq_export.recipe.schema import WIDE, WIDTHS
from mptq_export.recipe.settings import MethodName
from mptq_export.support.closed_sets import check_known
from mptq_export.support.errors import MptqError
from mptq_export.support.processes.devices import sharing
from mptq_export.support.progress import SILENT, Progress
from mptq_export.targets.rules import check_target
from mptq_export.targets.table import portable_form


def allocate(
    calibrated: Calibrated,
    budgets: str | Sequence[str],
    *,
    widths: tuple[int, int] | None = None,
    tied: bool = False,
    pins: Mapping[str, tuple[int, int]] | None = None,
    method: MethodName = "best",
    metric: Metric | None = None,
    target: str | None = None,
    residual_bits: int | None = None,
    journal: str | Path | None = None,
    resume: bool = False,
    progress: Progress = SILENT,
) -> list[Allocation]:
    """Search a width for every layer under a budget: Greedy MP, an integer programme and uniform widths beside it.

    Args:
        calibrated: what `calibrate` gave.
        budgets: one or several: mean widths (`4.5`, or `5/12` for weights and activations), file sizes (`12MB`),
            latencies of an image on this machine (`15ms`) or multiply-accumulate-bits (`20GBOPs`, or `75%` of those at
            8/8). All share one search, which answers any wider one afterwards: `Allocation.search.pick`.
        widths: the narrowest and the widest that are tried; None: 2 to 8, or all that the target runs.
        tied: weights and activations of a layer move together, as in the paper.
        pins: (weights, activations) of layers that do not move, by shell pattern of their names.
        method: how layers are quantized: `best`, `paper` or `minmax`.
        metric: what the search keeps small: `kl` (divergence of the classes), `cosine` (1 - cosine), `mse` (squared
            error by the squares of the output), `detection` (classes and boxes of what a detector sees), or a loss of
            your own, `(exact, found)` to a number an image or one for all. It gets the float model's outputs and the
            quantized one's as float32 tensors, or as dictionaries of them by name where there are several; what it
            gives for `(exact, exact)` is subtracted. None: `kl` for logits, `cosine` for embeddings, `detection` for a
            detector, `mse` for all else.
        target: the runtime that the file is for, as for `export`.
        residual_bits: width of the residual, as for `export`.
        journal: file that keeps every measurement, so that an interrupted search can go on; None keeps none.
        resume: go on from the journal.
        progress: hears every accepted step.

    Returns:
        An allocation for every budget, in their order, for `export`.

    Raises:
        MptqError: the target does not run such widths, a budget cannot be read or met, a pin matches no layer, the
            metric is unknown or gives no finite numbers, or the journal is of another search.
    """
    texts = [budgets] if isinstance(budgets, str) else list(budgets)
    if widths is not None and not WIDTHS[0] <= widths[0] < widths[1] <= WIDE:
        raise MptqError(f"widths {widths} are not (LO, HI) with 2 <= LO < HI, for example (3, 8)")
    check_target(target or "ort", None, (pins or {}).values(), residual_bits)
    asked = None if widths is None else range(widths[0], widths[1] + 1)
    domain = width_domain(target, portable_form(target), asked)
    read = tuple(Budget.parse(text, both=domain.alike) for text in texts)
    settings = SearchRequest(read, domain, tied, dict(pins or {}), metric)
    check_timed(read, target)
    settings.check()
    check_known("method", method, METHODS)
    if journal is not None:
        check_journal(Path(journal), resume=resume, force=False)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "search.jsonl" if journal is None else Path(journal)
        aim = Aim(target, residual_bits)
        return search_widths(calibrated, settings, method, kept, aim=aim, resume=resume, progress=progress)


def search_widths(
    calibrated: Calibrated,
    settings: SearchRequest,
    method: MethodName,
    journal: Path,
    *,
    aim: Aim,
    resume: bool = False,
    progress: Progress = SILENT,
) -> list[Allocation]:
    """`allocate` with settings and a method that were checked already."""
    if calibrated.heads:
        return search_detector(calibrated, settings, method, journal, aim=aim, resume=resume, progress=progress)
    form = search_form(form_for(aim.target, aim.residual_bits))
    progress.expect(search_stages([work_of(calibrated, settings, method, form)]))
    with sharing(calibrated.asked.device, calibrated.images.device) as group:
        problem = AllocationProblem(
            graph_of(calibrated, aim), METHODS[method], settings, form, group=group, progress=progress
        )
        terms = terms_of([calibrated], settings, method, aim)
        found = search(problem, terms, journal, resume=resume, progress=progress)
    return [each for (each,) in allocations(found, settings, [SearchedModel(None, calibrated, problem.calibrated)])]
