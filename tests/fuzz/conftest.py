"""The undamaged files, made once."""

import shutil
from pathlib import Path

import pytest

from .targets import write_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint in two formats, an export and its recipe."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


@pytest.fixture
def work(samples: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(samples, tmp_path / "work")
    return tmp_path / "work"
