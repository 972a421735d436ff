"""How to do an export again, and how to check it: commands, versions, hashes."""

import shlex
from dataclasses import dataclass

from mptq_export.recipe.store import recipe_paths
from mptq_export.report.accuracy import accuracy_path
from mptq_export.report.export_files import Export
from mptq_export.report.promise import runnable
from mptq_export.report.runtimes import runtime_path


@dataclass(frozen=True)
class Command:
    """A command line and what it is for."""

    purpose: str
    line: str


def commands_of(export: Export) -> list[Command]:
    """Command lines, with names of files as the report's reader has them."""
    name, recipe = export.name, recipe_paths(export.onnx)[0].name
    evidence = export.evidence
    same = [] if evidence is None else [Command("The same export", evidence.command)]
    options = () if evidence is None else evidence.model_options
    return [
        *same,
        Command(
            "The same bytes from the recipe, without images",
            _line("mptq-export", "MODEL", *options, "--recipe", recipe, "-o", name),
        ),
        *_checks(export, recipe),
        Command(
            "Accuracy, for this report",
            _line(
                *("mptq-eval", name, *_task(export), "--data", "VAL", "--float", "MODEL"),
                *("--json", accuracy_path(export.onnx).name),
            ),
        ),
        Command("Latency beside the float model", _line("mptq-bench", "FLOAT.onnx", name)),
        Command("This report", _line("mptq-report", name)),
    ]


def pick_command(export: Export, budget: str) -> str:
    """The command line that writes another point of the search; all else that it was told stands in its file."""
    options = () if export.evidence is None else export.evidence.model_options
    name = "" if export.front is None else export.front.name
    return _line("mptq-export", "MODEL", *options, "--search", name, "--pick", budget)


def _task(export: Export) -> tuple[str, ...]:
    """What the file was judged at, as options."""
    task = None if export.accuracy is None else export.accuracy.task
    return () if task is None else ("--task", task)


def _checks(export: Export, recipe: str) -> list[Command]:
    """How the file is checked: an exact one against `kernels_ref`, a portable one in its runtime."""
    name = export.name
    if export.recipe.settings.form != "portable":
        line = _line("mptq-verify", name, "--recipe", recipe)
        return [Command("Check that it is exact and came from this recipe", line)]
    runtime = runnable(export.recipe.settings)
    if runtime is None:
        return []
    stored = runtime_path(export.onnx, runtime).name
    line = _line("mptq-verify", name, "--runtime", runtime, "--images", "VAL", "--float", "MODEL", "--json", stored)
    return [Command(f"What {runtime} makes of it, for this report", line)]


def versions_of(export: Export) -> dict[str, str]:
    """Versions of what exported and of what measured."""
    return {**export.recipe.settings.versions, **(export.evidence.versions if export.evidence else {})}


def hashes_of(export: Export) -> dict[str, str]:
    """SHA-256 of the files and of the float weights."""
    found = {file.name: file.sha256 for file in export.files}
    return found | {"float weights": export.recipe.model.weights_sha256}


def _line(*words: str) -> str:
    return shlex.join(words)
