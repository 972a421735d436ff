"""What the command-line tests share: a checkpoint, the command, and the files of a folder."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner, Result
from tiny_models import KINDS, tiny

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.cli.export import main
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Searched
from mptq_export.export.request import ExportRequest
from mptq_export.load.request import ModelRequest
from mptq_export.support.progress import Bar, Silent

KIND = "vit"
ARCH, KWARGS = KINDS[KIND]
WRITTEN = {f"m.mptq.{end}" for end in ("onnx", "recipe.json", "recipe.safetensors", "report.html", "report.json")}
#: What a stage leaves where there is no terminal: its time, or in a long one how far it is.
STAGE_LINE = r"[a-z ]+: ((\d+ h )?(\d+ min ?)?(\d+(\.\d)? s)?)( so far, about .* left)?"
#: What an export on the six images of the tests' folder is told.
FEW = "warning: calibrated on 6 inputs only: ranges are poor with fewer than 16; a hundred do\n"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def save(path: Path, kind: str = KIND, **changes: Any) -> Path:
    """A checkpoint in the form that training scripts write."""
    arch, kwargs = KINDS[kind]
    content = {"arch": arch, "model_kwargs": kwargs, "state_dict": dict(tiny(kind).state_dict()), **changes}
    torch.save(content, path)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Interrupting(Silent):
    """Interrupts an export when a stage begins for the Nth time; `warned` is what it heard before."""

    def __init__(self, label: str, number: int = 1) -> None:
        self.label, self.left, self.warned = label, number, list[str]()

    def warn(self, sentences: Iterable[str]) -> None:
        self.warned += sentences

    def stage(self, label: str, total: float) -> AbstractContextManager[Bar]:
        self.left -= label == self.label
        if self.left == 0:
            raise KeyboardInterrupt
        return super().stage(label, total)


def searching(model: Path, out: Path, budgets: tuple[str, ...], *, images: Path | None, count: int) -> ExportRequest:
    """A search of 2 to 4 bits, as the command line asks for it."""
    settings = SearchRequest(tuple(map(Budget.parse, budgets)), WidthDomain.of_range(range(2, 5)), tied=False, pins={})
    calibration = CalibrationRequest(images, count)
    return ExportRequest(ModelRequest(str(model)), Searched(settings), Outputs(out), calibration)
