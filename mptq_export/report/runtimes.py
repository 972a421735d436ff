"""What other runtimes made of a file: OUT.RUNTIME.json, written by `mptq-verify OUT.onnx --runtime RUNTIME --json`."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mptq_export.recipe.outputs import OutputKind
from mptq_export.runtime.edge.session import Placement, RuntimeName
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import read_json
from mptq_export.verify.elsewhere.closeness import Closeness
from mptq_export.verify.elsewhere.report import ElsewhereVerdict


@dataclass(frozen=True)
class StoredCodes:
    """See `verify.elsewhere.final_codes.CodesOff`."""

    step: float
    values: int
    off_by: dict[str, int]
    mean: float
    most: int


@dataclass(frozen=True)
class StoredOutput:
    """One output; see `verify.elsewhere.report.OutputElsewhere`."""

    output: str
    kind: OutputKind
    beside_file: Closeness
    beside_float: Closeness | None
    codes: StoredCodes | None


@dataclass(frozen=True)
class RuntimeRun:
    """One file in one runtime; see `verify.elsewhere.report.ElsewhereReport`."""

    sha256: str
    runtime: RuntimeName
    version: str
    device: str
    verdict: ElsewhereVerdict
    whole: bool
    in_integers: bool
    wrong: tuple[str, ...]
    refused: str | None
    inputs: dict[str, int]
    outputs: tuple[StoredOutput, ...]
    placement: Placement | None

    @property
    def title(self) -> str:
        """What ran it, for people."""
        return f"{self.runtime}: {self.device}" if self.device else self.runtime

    @property
    def where(self) -> str:
        """Where its ops run, in a few words."""
        if self.placement is None:
            return f"refused: {self.refused}"
        total = sum(placed.count for placed in self.placement.ops)
        left = sum(placed.count for placed in self.placement.left)
        floats = sum(placed.count for placed in self.placement.floating)
        whole = f"whole, {total} ops" if not left else f"not whole: {left} of {total} ops are left to the CPU"
        return f"{whole}, {'all in integers' if not floats else f'{floats} in floats'}"


def runtime_path(onnx_path: Path, runtime: RuntimeName) -> Path:
    """OUT.RUNTIME.json."""
    return onnx_path.with_suffix(f".{runtime}.json")


def read_runs(onnx_path: Path, digest: str, missing: list[str]) -> tuple[RuntimeRun, ...]:
    """What lies beside a file of runs in other runtimes.

    Args:
        onnx_path: OUT.onnx.
        digest: its SHA-256.
        missing: gets a sentence for every file that is there and cannot be shown.
    """
    found = []
    for runtime in get_args(RuntimeName):
        path = runtime_path(onnx_path, runtime)
        if not path.is_file():
            continue
        try:
            run = _read(path, runtime, digest)
        except MptqError as error:
            missing.append(f"What {runtime} made of it: {error}.")
        else:
            found.append(run)
    return tuple(found)


def _read(path: Path, runtime: RuntimeName, digest: str) -> RuntimeRun:
    """Read one.

    Raises:
        MptqError: it is damaged, or of another file or runtime.
    """
    try:
        run = read_json(path, RuntimeRun)
    except (OSError, ValueError) as error:
        raise MptqError(f"{path.name} is not what mptq-verify --runtime {runtime} --json writes ({error})") from error
    if run.sha256 != digest:
        raise MptqError(f"{path.name} is of another file")
    if run.runtime != runtime:
        raise MptqError(f"{path.name} is of {run.runtime}")
    return run
