"""A checkpoint to export while things go wrong, and what must hold afterwards."""

from pathlib import Path

import pytest
import torch
from processes import Started
from tiny_models import KINDS, tiny

from mptq_export.support.errors import MptqError
from mptq_export.verify.onnx_file import load_onnx
from mptq_export.verify.origin import check_recipe

from . import kill_at


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a checkpoint, and an empty one for what is made of it."""
    arch, kwargs = KINDS["vit"]
    content = {"arch": arch, "model_kwargs": kwargs, "state_dict": dict(tiny("vit").state_dict())}
    torch.save(content, tmp_path / "m.pt")
    (tmp_path / "out").mkdir()
    return tmp_path


def start(moment: int | str, work: Path, *options: object, name: str = "m.onnx") -> Started:
    """mptq-export in a process of its own, to be killed at one moment (see kill_at.py); 0 for never."""
    return Started(
        kill_at.__name__, moment, work / "out", work / "m.pt", "--count", 4, "-o", work / "out" / name, *options
    )


def visible(folder: Path) -> dict[str, bytes]:
    """The files that a person sees."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def whole(onnx: Path) -> bool:
    """Whether a file is there, as it was written, with its recipe."""
    try:
        return onnx.exists() and check_recipe(load_onnx(onnx), onnx.with_suffix(".recipe.json")).problems == ()
    except MptqError:
        return False
