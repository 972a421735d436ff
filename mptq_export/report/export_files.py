"""Everything that lies on disk about one export, read and checked: what a report is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mptq_export.recipe.onnx_contents import RECIPE_KEY
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.store import read_recipe, recipe_paths, tensors_path
from mptq_export.report.accuracy import Evaluation, accuracy_path, read_evaluation
from mptq_export.report.evidence import Evidence, read_evidence
from mptq_export.report.front import Front, read_front
from mptq_export.report.paths import evidence_path, onnx_path_of
from mptq_export.report.runtimes import RuntimeRun, read_runs
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of
from mptq_export.verify.kernels.plan import MatmulKernel, read_kernel_plan
from mptq_export.verify.onnx_file import load_onnx, metadata_of

Read = TypeVar("Read")


@dataclass(frozen=True)
class StoredFile:
    """A file of an export.

    Attributes:
        name: without its folder.
        size: in bytes.
        sha256: of its bytes.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Export:
    """One export as its files tell.

    Attributes:
        onnx: path of the ONNX file, which may be missing.
        recipe: all decisions.
        files: those that are there, the ONNX file first.
        evidence: what was measured right after the export; None where that file is missing or of another export.
        kernels: matmuls as onnxruntime runs them; None where they cannot be known.
        op_counts: nodes of each op in onnxruntime's optimised graph.
        front: the search of widths; None where there was none or its file is missing.
        accuracy: on labelled images, from `mptq-eval`; None where it was not measured.
        runs: what other runtimes made of it, from `mptq-verify --runtime`.
        missing: what the report cannot show, and why: a sentence each.
    """

    onnx: Path
    recipe: ExportRecipe
    files: tuple[StoredFile, ...]
    evidence: Evidence | None
    kernels: tuple[MatmulKernel, ...] | None
    op_counts: dict[str, int]
    front: Front | None
    accuracy: Evaluation | None
    runs: tuple[RuntimeRun, ...]
    missing: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the ONNX file."""
        return self.onnx.name

    @property
    def onnx_file(self) -> StoredFile | None:
        """The ONNX file, if it is there."""
        return next((file for file in self.files if file.name == self.onnx.name), None)


def read_export(named: Path) -> Export:
    """Read an export from the name of its ONNX file or recipe.

    Raises:
        MptqError: there is no such file, the recipe is missing or damaged, or ONNX file and recipe are not of one
            export.
    """
    onnx_path = onnx_path_of(named)
    recipe_path = recipe_paths(onnx_path)[0]
    if not named.is_file():
        raise MptqError(f"{named} does not exist or is no file; name an .onnx file or a .recipe.json of an export")
    if not recipe_path.is_file():
        raise MptqError(f"{recipe_path} does not exist: it says what was decided; keep it beside {onnx_path.name}")
    recipe = read_recipe(recipe_path)
    missing: list[str] = []
    paths = (onnx_path, recipe_path, tensors_path(recipe_path))
    files = tuple(StoredFile(path.name, path.stat().st_size, sha256_of(path)) for path in paths if path.is_file())
    digest = files[0].sha256 if onnx_path.is_file() else None
    if digest is None:
        missing.append(f"The file size and hash: {onnx_path.name} is not there.")
    else:
        _check_pair(onnx_path, recipe_path)
    evidence = _evidence(onnx_path, digest, missing)
    portable = recipe.settings.form == "portable"  # nothing is known of the kernels of its runtime
    kernels, op_counts = (None, {}) if portable else _kernels(onnx_path, evidence, missing)
    front = _optional(lambda: read_front(onnx_path, recipe), "The search of widths", missing)
    if front is None and recipe.settings.search is not None:
        missing.append(f"The trade-off of the search: there is no .search.json beside {onnx_path.name}.")
    accuracy = None
    if digest is not None:
        accuracy = _optional(lambda: read_evaluation(onnx_path, digest), "What mptq-eval found", missing)
    if accuracy is None:
        what = "Top-1: it needs labelled images." if recipe.settings.gives_logits else "More images beside float."
        missing.append(
            f"{what} `mptq-eval {onnx_path.name} --data VAL --float MODEL --json "
            f"{accuracy_path(onnx_path).name}` measures it; then build the report again."
        )
    runs = () if digest is None else read_runs(onnx_path, digest, missing)
    return Export(onnx_path, recipe, files, evidence, kernels, op_counts, front, accuracy, runs, tuple(missing))


def _check_pair(onnx_path: Path, recipe_path: Path) -> None:
    """The ONNX file says of which recipe it is.

    Raises:
        MptqError: of another one, or it is not ONNX.
    """
    stored = metadata_of(load_onnx(onnx_path)).get(RECIPE_KEY)
    if stored != sha256_of(recipe_path):
        raise MptqError(
            f"{onnx_path} and {recipe_path.name} are not of one export ({RECIPE_KEY} differs); keep the files of an "
            "export together"
        )


def _evidence(onnx_path: Path, digest: str | None, missing: list[str]) -> Evidence | None:
    path = evidence_path(onnx_path)
    if not path.is_file():
        missing.append(
            f"What only the export can measure (errors, channel ranges, histograms, latency, closeness to float, "
            f"exactness): "
            f"there is no {path.name}."
        )
        return None
    evidence = _optional(lambda: read_evidence(path), "What the export measured", missing)
    if evidence is not None and digest not in (None, evidence.onnx_sha256):
        missing.append(f"What the export measured: {path.name} is of another file.")
        return None
    if evidence is not None and evidence.observed_images == 0:
        missing.append(
            "Errors, channel ranges, histograms and closeness to float: the file was exported from a recipe, without "
            "images."
        )
    if evidence is not None and evidence.latency is None:
        missing.append("Latency: a run takes too long to be timed in passing; `mptq-bench` measures it.")
    return evidence


def _kernels(
    onnx_path: Path, evidence: Evidence | None, missing: list[str]
) -> tuple[tuple[MatmulKernel, ...] | None, dict[str, int]]:
    """The kernel plan as it was recorded, else as onnxruntime makes it here and now."""
    if evidence is not None:
        return evidence.kernels, evidence.op_counts
    if not onnx_path.is_file():
        missing.append(f"The kernel plan: {onnx_path.name} is not there.")
        return None, {}
    plan = read_kernel_plan(onnx_path)
    return plan.matmuls, plan.op_counts


def _optional(read: Callable[[], Read], what: str, missing: list[str]) -> Read | None:
    """What a file beside the export says; a damaged one is left out, and said to be."""
    try:
        return read()
    except MptqError as error:
        missing.append(f"{what}: {error}.")
        return None
