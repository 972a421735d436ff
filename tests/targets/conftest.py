"""A tiny checkpoint and the command that exports it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from tiny_models import KINDS, tiny

from mptq_export.cli.export import main

Export = Callable[..., tuple[Result, Path]]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """A function that exports a tiny ViT with some options: what the command said, and the file."""
    arch, kwargs = KINDS["vit"]
    torch.save({"arch": arch, "model_kwargs": kwargs, "state_dict": tiny("vit").state_dict()}, tmp_path / "m.pt")

    def call(name: str, *options: object) -> tuple[Result, Path]:
        out = tmp_path / f"{name}.onnx"
        words = [tmp_path / "m.pt", "-o", out, *options]
        return CliRunner().invoke(main, [str(word) for word in words]), out

    return call
