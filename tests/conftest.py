"""Shared fixtures: where the real checkpoints and images lie, when they are there; what was captured before."""

import os
from collections.abc import Iterator
from pathlib import Path

# Tiny models are no quicker on several threads, and on a busy machine threads wait for each other. Before torch comes;
# tests of thread counts set their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from captured import Captures, remembered

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder with the real checkpoints and images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MPTQ_ASSETS", REPO.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip(f"real checkpoints not found: {folder} does not exist (set MPTQ_ASSETS)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def captures() -> Iterator[Captures]:
    """What was captured so far; a test that compares two exports forgets it in between."""
    with remembered() as made:
        yield made
