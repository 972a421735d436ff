"""Mixed precision: calibrate, search once, and write one ONNX file a budget."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mptq_export.errors import MptqError
from mptq_export.files import check_writable, write_atomic
from mptq_export.pipeline import (
    ExportRequest,
    ExportResult,
    Track,
    calibrate_model,
    check_outputs,
    identity_of,
    learned,
    recipe_settings,
    reported,
    written,
)

if TYPE_CHECKING:
    from mptq_export.allocate.greedy import Step
    from mptq_export.allocate.search import Found, Search
    from mptq_export.allocate.space import MixedSettings


def mixed_outputs(out: Path, budgets: tuple[str, ...]) -> list[Path]:
    """The ONNX files of a search: `out` for one budget, `NAME.BUDGET.onnx` for several."""
    if len(budgets) == 1:
        return [out]
    return [out.with_name(f"{out.stem}.{text}{out.suffix}") for text in budgets]


def mixed_kits(kit: Path | None, budgets: tuple[str, ...]) -> list[Path | None]:
    """The kits of a search: `kit` itself for one budget, a folder in it for each of several."""
    return [kit if kit is None or len(budgets) == 1 else kit / text for text in budgets]


def export_mixed(
    request: ExportRequest,
    mixed: "MixedSettings",
    *,
    resume: bool,
    track: Track,
    tick: "Callable[[Step, float, float], None] | None" = None,
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

    Raises:
        MptqError: any problem that the user can act on.
    """
    from mptq_export.allocate.search import search
    from mptq_export.allocate.space import Space
    from mptq_export.quantize.method import METHODS
    from mptq_export.report.command import command_of

    outputs = mixed_outputs(request.out, tuple(budget.text for budget in mixed.budgets))
    if len(set(outputs)) != len(outputs):
        raise MptqError("--mixed names a budget twice; each gives one file")
    if len({budget.kind for budget in mixed.budgets}) > 1:
        raise MptqError("--mixed takes mean widths, file sizes or latencies, not several of them in one search")
    for budget in mixed.budgets:
        if budget.kind == "bits" and budget.most > mixed.bits[-1]:
            raise MptqError(
                f"--mixed {budget.text} is above --mixed-range, which ends at {mixed.bits[-1]}; ask for less"
            )
    if request.weight_storage == "int8" and any(budget.kind == "bytes" for budget in mixed.budgets):
        raise MptqError("--mixed with a file size needs --weight-storage packed: with int8 every width has one size")
    kits = mixed_kits(request.kit, tuple(budget.text for budget in mixed.budgets))
    requests = [
        replace(request, out=path, kit=kit, force=request.force or (resume and _begun(path, budget.text)))
        for path, kit, budget in zip(outputs, kits, mixed.budgets, strict=True)
    ]
    for one in requests:
        check_outputs(one)
    journal, front = request.out.with_suffix(".search.jsonl"), request.out.with_suffix(".search.json")
    check_writable(front, force=request.force or resume)  # without --force there was none when the search began
    if resume and not journal.exists():
        raise MptqError(f"--resume: there is no journal {journal}; start the search without --resume")
    if not resume and not request.force and journal.exists():
        raise MptqError(f"{journal} is of an interrupted search: go on with --resume, or start again with --force")
    check_writable(journal, force=True)
    if request.report is not None and request.report.resolve() in {journal.resolve(), front.resolve()}:
        raise MptqError(f"--json {request.report} names an output of the search; choose another file")
    calibrated = calibrate_model(request, track)
    space = Space(calibrated.graph, calibrated.stats, calibrated.images, METHODS[request.method], mixed)
    result = search(space, journal, resume=resume, tick=tick)
    exported: list[ExportResult] = []
    for one, found in zip(requests, result.found, strict=True):
        settings = recipe_settings(one, calibrated, result.bits_text(found))
        settings["search"] = _evidence(result, found, mixed)
        identity = identity_of(calibrated.loaded)
        graph, recipe = result.final(found, identity, settings)
        graph, recipe = learned(one, calibrated, graph, recipe, track)
        warnings, command = calibrated.source.warnings, command_of(request, mixed)
        exported.append(written(one, calibrated.loaded, warnings, graph, recipe, calibrated.images, command, track))
    text = json.dumps(result.front, indent=1) + "\n"

    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    write_atomic(front, write)
    journal.unlink()
    return [reported(result) for result in exported]


def _begun(path: Path, budget: str) -> bool:
    """Whether an interrupted search wrote the files of a budget, or none of them: then it may go on."""
    from mptq_export.recipe.store import recipe_paths

    if not any(file.exists() for file in (path, *recipe_paths(path))):
        return True
    try:
        settings = json.loads(recipe_paths(path)[0].read_text(encoding="utf-8"))["settings"]
        return bool(settings["search"]["budget"] == budget)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _evidence(result: "Search", found: "Found", mixed: "MixedSettings") -> dict[str, Any]:
    """Why the layers have their widths: kept in the recipe."""
    return {
        "budget": found.budget.text,
        "range": [mixed.bits[0], mixed.bits[-1]],
        "tied": mixed.tied,
        "solver": found.solver,
        "divergence": {name: kl if math.isfinite(kl) else None for name, kl in found.compared.items()},
        "evaluations": result.evaluations,
        "widths": {layer: "{}/{}".format(*widths) for layer, widths in found.widths.items()},
        "estimated_divergence_alone": result.estimates(found),
    }
