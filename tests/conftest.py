"""Shared fixtures: where the real checkpoints and images lie, when they are there; what was made before."""

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

# Tiny models are no quicker on several threads, and on a busy machine threads wait for each other. Before torch comes;
# tests of thread counts set their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from remembered import Memory, remembering

REPO = Path(__file__).resolve().parent.parent
#: Files that take long, the longest first: they come first, or one worker waits for the other's at the end.
LONG = (
    "test_real_checkpoints.py",
    "crosscheck/test_same_bytes.py",
    "docs/test_pages.py",
    "test_notebook.py",
    "cli/test_replay.py",
    "cli/test_mixed.py",
    "allocate/test_search.py",
    "cli/test_features.py",
    "api/test_verbs.py",
    "cli/test_pick.py",
    "cli/test_says.py",
    "faults/test_killed.py",
    "allocate/test_evaluator.py",
    "bench/test_peers.py",
    "cli/test_export.py",
    "dossier/test_numbers.py",
    "dossier/test_ranges.py",
    "tools/test_doors.py",
    "capture/test_mutations.py",
    "fuzz/test_hostile_onnx.py",
    "targets/test_targets.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, all others in their order."""
    places = {REPO / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Garbage is looked for from here on only, and not among a million objects of libraries and tests that stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder with the real checkpoints and images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MPTQ_ASSETS", REPO.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip(f"real checkpoints not found: {folder} does not exist (set MPTQ_ASSETS)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    """What exports made so far, in all workers."""
    folder = None
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / "remembered"
        folder.mkdir(exist_ok=True)
    with remembering(folder) as memory:
        yield memory


@pytest.fixture(scope="session", autouse=True)
def no_stages() -> Iterator[None]:
    """Exports of this process leave no line a stage: times differ, and what tests compare is what else is said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mptq_export.cli.export.STAGES", False)
        patch.setattr("mptq_export.cli.terminal.SILENCE", 1e6)
        yield


@pytest.fixture
def memory(remembered: Memory) -> Iterator[Memory]:
    """The same, for a test that compares two exports: it forgets in between."""
    yield remembered
    remembered.remember()
