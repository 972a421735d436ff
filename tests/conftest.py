"""Shared fixtures: where the real checkpoints and images lie, when they are there."""

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder with the real checkpoints and images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MPTQ_ASSETS", REPO.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip(f"real checkpoints not found: {folder} does not exist (set MPTQ_ASSETS)")
    return folder
