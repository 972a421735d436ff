"""Mixed precision: calibrate, search once, and write one ONNX file a budget."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mptq_export.export.outputs import check_outputs
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import ExportResult, begin, calibrate_asked, finished, reported, written
from mptq_export.recipe.settings import SearchFacts
from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable
from mptq_export.support.json_files import write_json
from mptq_export.support.progress import Tell, Track, untold
from mptq_export.targets.oldest import storage_in
from mptq_export.targets.rules import check_target, storage_for

if TYPE_CHECKING:
    from mptq_export.allocate.run import Allocation, Tick
    from mptq_export.allocate.space import MixedSettings


def mixed_outputs(out: Path, budgets: tuple[str, ...]) -> list[Path]:
    """The ONNX files of a search: `out` for one budget, `NAME.BUDGET.onnx` for several."""
    if len(budgets) == 1:
        return [out]
    return [out.with_name(f"{out.stem}.{text}{out.suffix}") for text in budgets]


def mixed_kits(kit: Path | None, budgets: tuple[str, ...]) -> list[Path | None]:
    """The kits of a search: `kit` itself for one budget, a folder in it for each of several."""
    return [kit if kit is None or len(budgets) == 1 else kit / text for text in budgets]


def front_path(out: Path) -> Path:
    """The trade-off of a search whose output has this name."""
    return out.with_suffix(".search.json")


def export_mixed(
    request: ExportRequest,
    mixed: "MixedSettings",
    *,
    resume: bool,
    track: Track,
    tick: "Tick | None" = None,
    tell: Tell = untold,
) -> list[ExportResult]:
    """Search widths under every budget and export each result.

    Beside the ONNX files it writes NAME.search.json (the trade-off: every accepted step) and keeps
    NAME.search.jsonl (the journal of measurements) until all files are written.

    Args:
        request: what to export; `bits` and `recipe` are not read.
        mixed: budgets, range, pins.
        resume: go on with the journal of an interrupted search.
        track: wraps an iterable with a progress bar.
        tick: called after every accepted step with the mean widths of weights and activations.
        tell: gets the warnings of the model and of the calibration inputs before the search.

    Raises:
        MptqError: any problem that the user can act on.
    """
    from mptq_export.allocate.journal import check_journal
    from mptq_export.allocate.run import allocations

    mixed.check()
    check_storage(request, mixed)
    check_range(request, mixed)
    budgets = tuple(budget.text for budget in mixed.budgets)
    outputs, kits = mixed_outputs(request.out, budgets), mixed_kits(request.kit, budgets)
    requests = [
        replace(request, out=path, kit=kit, force=request.force or (resume and _begun(path, text)))
        for path, kit, text in zip(outputs, kits, budgets, strict=True)
    ]
    for one in requests:
        check_outputs(one)
    journal, front = request.out.with_suffix(".search.jsonl"), front_path(request.out)
    check_writable(front, force=request.force or resume)  # without --force there was none when the search began
    check_journal(journal, resume=resume, force=request.force)
    if request.report is not None and request.report.resolve() in {journal.resolve(), front.resolve()}:
        raise MptqError(f"--json {request.report} names an output of the search; choose another file")
    calibrated = calibrate_asked(request, mixed.bits[0], track, tell, mixed.check_graph)
    begin(request, calibrated)
    found = allocations(calibrated, mixed, request.method, journal, resume=resume, tick=tick)
    results = export_allocations(request, requests, found, track)
    journal.unlink()
    return [reported(result) for result in results]


def check_storage(request: ExportRequest, mixed: "MixedSettings") -> None:
    """Refuse a file size as the budget where every width takes a byte, and weights that the oldest runtime cannot read.

    Raises:
        MptqError: one of them is asked for.
    """
    asked = storage_in(request.min_ort, request.weight_storage, mixed.bits)
    storage = storage_for(request.target or "ort", asked)
    if storage == "int8" and any(budget.kind == "bytes" for budget in mixed.budgets):
        raise MptqError(
            "--mixed with a file size needs --weight-storage packed (and --min-ort 1.23, if any): with int8 all widths "
            "have one size"
        )


def check_range(request: ExportRequest, mixed: "MixedSettings") -> None:
    """Refuse widths to try that the target does not take.

    Raises:
        MptqError: the narrowest is one.
    """
    if request.target is None:
        return
    low, high = mixed.bits[0], mixed.bits[-1]
    # A file size is met by weights alone, a latency by activations.
    lowest = {"bits": (low, low), "bytes": (low, high), "latency": (high, low)}
    check_target(request.target, request.weight_storage, [lowest[budget.kind] for budget in mixed.budgets])


def export_allocations(
    whole: ExportRequest, requests: Sequence[ExportRequest], allocations: "Sequence[Allocation]", track: Track
) -> list[ExportResult]:
    """Quantize at the widths of every allocation of one search and write each, and the trade-off; no report yet.

    Args:
        whole: what was asked for, with the name that gives the trade-off its own.
        requests: the same with the output of each.
        allocations: one for every request.
        track: wraps an iterable with a progress bar.
    """
    from mptq_export.report.command import command_of

    exported: list[ExportResult] = []
    for one, allocation in zip(requests, allocations, strict=True):
        calibrated, search = allocation.calibrated, allocation.search
        bits, facts = search.bits_text(allocation.found), search_facts(allocation)
        graph, recipe = finished(
            one, calibrated, search.space.final(allocation.found.widths), bits, track, search=facts
        )
        command = command_of(whole, allocation.settings)
        exported.append(written(one, calibrated.loaded, graph, recipe, calibrated.images, command, track))
    write_json(front_path(whole.out), allocations[0].front)
    return exported


def _begun(path: Path, budget: str) -> bool:
    """Whether an interrupted search wrote the files of a budget, or none of them: then it may go on."""
    from mptq_export.recipe.store import read_settings, recipe_paths

    if not any(file.exists() for file in (path, *recipe_paths(path))):
        return True
    try:
        search = read_settings(recipe_paths(path)[0]).search
    except (OSError, ValueError):
        return False
    return search is not None and search.budget == budget


def search_facts(allocation: "Allocation") -> SearchFacts:
    """Why the layers have their widths."""
    found, settings = allocation.found, allocation.settings
    return SearchFacts(
        budget=found.budget.text,
        range=(settings.bits[0], settings.bits[-1]),
        tied=settings.tied,
        solver=found.solver,
        divergence={name: kl if math.isfinite(kl) else None for name, kl in found.compared.items()},
        evaluations=allocation.search.evaluations,
        widths={layer: "{}/{}".format(*widths) for layer, widths in found.widths.items()},
        estimated_divergence_alone=allocation.search.estimates(found),
    )
