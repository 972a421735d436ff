"""Damaged at random: what reads it takes it or refuses it in one line. tools/fuzz.py does the same for hours."""

import shutil
import warnings
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .targets import TARGETS, damaged

#: onnxruntime may end the process on a hostile file: the whole command is fuzzed in processes of its own, by the tool.
NAMES = [name for name in TARGETS if name != "mptq-verify"]
QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


def attempt(name: str, samples: Path, folder: Path, seed: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(samples, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        damaged(TARGETS[name], folder, Random(seed))
        before = {path: path.read_bytes() for path in folder.iterdir()}
        TARGETS[name].read(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_not_damaged_is_taken(name: str, samples: Path):
    assert TARGETS[name].read(samples)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, **QUIET)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_file(name: str, samples: Path, tmp_path: Path, seed: int):
    attempt(name, samples, tmp_path / "work", seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=1500, **QUIET)
@given(seed=st.integers(0, 2**32))
def test_many_damaged_files(name: str, samples: Path, tmp_path: Path, seed: int):
    attempt(name, samples, tmp_path / "work", seed)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, 0.25, 0.5, 0.75, 0.999])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_short(name: str, work: Path, keep: float):
    for file in TARGETS[name].files:
        data = (work / file).read_bytes()
        (work / file).write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    assert not TARGETS[name].read(work)
