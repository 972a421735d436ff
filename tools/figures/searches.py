"""One search of widths for several budgets, and the files that come of it."""

import json
from collections.abc import Sequence
from pathlib import Path

from mptq_export.allocate.budget import budget_label
from mptq_export.recipe.settings import SearchFacts
from mptq_export.recipe.store import read_settings, recipe_paths
from tools.figures.bench import Bench, Exported, Facts, facts_of
from tools.figures.models import Model


def searched(
    bench: Bench, model: Model, name: str, budgets: Sequence[str], options: Sequence[str] = ()
) -> tuple[Facts, dict[str, Exported]]:
    """What a search took, all of its exports included, and its file for each budget.

    Args:
        bench: what it is made with.
        model: what is searched.
        name: of the search; with the budget behind it that of a file.
        budgets: at least two.
        options: of the command besides, always the same for a name.

    Returns:
        `seconds` (None where it was interrupted) and `peak_mb`; the files by budget.
    """

    def make(out: Path) -> Facts:
        resumed = out.with_suffix(".search.jsonl").exists()
        words = [word for budget in budgets for word in ("--mixed", budget)]
        report = out.with_suffix(".export.json")
        given = (model.checkpoint, "--calib", model.calib, *options, *words, *bench.device_option)
        written = ("-o", out, "--force", "-q", "--json", report)
        ran = bench.commands.console("export", *given, *written, *(["--resume"] if resumed else []), log=out.stem)
        summaries = json.loads(report.read_text(encoding="utf-8"))["exports"]
        files = {budget: facts_of(summary) for budget, summary in zip(budgets, summaries, strict=True)}
        return {"seconds": None if resumed else ran.seconds, "peak_mb": ran.peak_mb, "files": files}

    found = bench.once(name, make)
    files = {
        budget: Exported(bench.folder / f"{name}.{budget_label(budget)}.onnx", facts)
        for budget, facts in found.pop("files").items()
    }
    return found, files


def search_of(exported: Exported) -> SearchFacts:
    """Why a file's layers have their widths."""
    found = read_settings(recipe_paths(exported.path)[0]).search
    assert found is not None
    return found
