"""One budget over the files of a two-stage detector: calibrated parts -> widths of every layer of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mptq_export.allocate.allocation import Aim, Allocation, graph_of, work_of
from mptq_export.allocate.expected import search_stages
from mptq_export.allocate.forms import search_form
from mptq_export.allocate.parts_problem import PartProblem, PartsProblem, pins_of
from mptq_export.allocate.pick import SearchedModel, allocations, part_name, terms_of
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search import search
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.quantize.method import METHODS
from mptq_export.quantize.target_form import form_for
from mptq_export.recipe.settings import MethodName
from mptq_export.support.processes.devices import sharing
from mptq_export.support.progress import SILENT, Progress


@dataclass(frozen=True)
class SearchedPart:
    """One part, as a search takes it.

    Attributes:
        name: of the part; no two have the same.
        calibrated: it, on what the float model gives in front of it.
        per_picture: how many inputs of it a picture has, on average: regions of a head, 1 of the first stage.
    """

    name: str
    calibrated: Calibrated
    per_picture: float = 1.0


def search_parts(
    parts: Sequence[SearchedPart],
    settings: SearchRequest,
    method: MethodName,
    journal: Path,
    *,
    aim: Aim,
    resume: bool = False,
    progress: Progress = SILENT,
) -> list[tuple[Allocation, ...]]:
    """Search widths of all parts together: a budget is of all files, their layers' operations and their time.

    Args:
        parts: in the order of the detector.
        settings: checked already. Pins are of layers of any part.
        method: how layers are quantized.
        journal: file that keeps every measurement.
        aim: what the files are for.
        resume: go on from the journal.
        progress: hears every accepted step.

    Returns:
        For every budget, in their order, an allocation of each part.

    Raises:
        MptqError: as `search_widths`.
    """
    form = form_for(aim.target, aim.residual_bits)
    given = [graph_of(part.calibrated, aim) for part in parts]
    pins = pins_of([each.graph for each in given], settings.pins)
    progress.expect(search_stages([work_of(part.calibrated, settings, method, search_form(form)) for part in parts]))
    with sharing(parts[0].calibrated.asked.device, parts[0].calibrated.images.device) as group:
        each = [
            PartProblem(
                part.name,
                AllocationProblem(
                    graph,
                    METHODS[method],
                    replace(settings, pins=own),
                    search_form(form),
                    group=group,
                    progress=progress,
                ),
                part.per_picture,
            )
            for part, graph, own in zip(parts, given, pins, strict=True)
        ]
        terms = terms_of([part.calibrated for part in parts], settings, method, aim)
        found = search(PartsProblem(each, settings), terms, journal, resume=resume, progress=progress)
    models = [
        SearchedModel(part.name, part.calibrated, one.problem.calibrated) for part, one in zip(parts, each, strict=True)
    ]
    return allocations(found, settings, models)


def search_detector(
    calibrated: Calibrated,
    settings: SearchRequest,
    method: MethodName,
    journal: Path,
    *,
    aim: Aim,
    resume: bool = False,
    progress: Progress = SILENT,
) -> list[Allocation]:
    """`search_parts` of a calibrated detector of two stages: an allocation a budget, with those of its heads."""
    parts = [SearchedPart(part_name(each), each, each.per_picture) for each in (calibrated, *calibrated.heads)]
    found = search_parts(parts, settings, method, journal, aim=aim, resume=resume, progress=progress)
    return [replace(first, heads=tuple(heads)) for first, *heads in found]
