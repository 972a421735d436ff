"""What the command-line tests share: a checkpoint, the command, and the files of a folder."""

from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner, Result
from tiny_models import KINDS, tiny

from mptq_export.cli.export import main

KIND = "vit"
ARCH, KWARGS = KINDS[KIND]
WRITTEN = {f"m.mptq.{end}" for end in ("onnx", "recipe.json", "recipe.safetensors", "report.html", "report.json")}
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
