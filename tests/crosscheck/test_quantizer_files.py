"""onnxruntime's own quantizer: what its files hold is verified, or refused by name, and never wrongly called exact."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnxruntime as ort
import pytest

from tools.crosscheck.quantizer_files import classify, files, inputs
from tools.crosscheck.quantizer_models import MODELS

OLD = tuple(map(int, ort.__version__.split(".")[:2])) < (1, 30)
pytestmark = pytest.mark.skipif(OLD, reason="older versions of onnxruntime quantize and fuse otherwise")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without the quantizer's advice."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def classified(folder: Path, only: str = "", every: int = 1) -> list[tuple[str, str, str, str]]:
    found = []
    for model, setting, path, original in files(folder, only, every):
        found.append((model, setting, *classify(path, inputs(original))))
    return found


def assert_sound(found: list[tuple[str, str, str, str]], share: float) -> None:
    """No claimed tensor differs; what is not exact says why; so many are equal."""
    assert [entry for entry in found if entry[2] == "different"] == []
    assert all(reason for _, _, verdict, reason in found if verdict != "exact")
    counts = Counter(verdict for _, _, verdict, _ in found)
    assert counts["exact"] + counts["equal on these inputs"] >= share * len(found), counts


def test_one_file_of_each_kind_in_turn(tmp_path: Path) -> None:
    found = classified(tmp_path, every=41)  # has no divisor in common with the number of settings: all of them in turn
    assert {model for model, _, _, _ in found} == set(MODELS)
    assert_sound(found, 0.6)


@pytest.mark.parametrize(
    ("only", "verdict"),
    [
        ("mlp_gemm QDQ u8u8 per channel reduced, plain", "exact"),
        ("mlp_gemm QDQ u8u8 per channel reduced, float bias", "equal on these inputs"),
        ("mlp_gemm QOperator u8s8 per tensor reduced", "exact"),
        ("mlp_gemm dynamic u8 per tensor reduced", "exact"),
        ("cnn QDQ s8s8 per channel reduced, pairs", "exact"),
        ("attention QDQ u8u8 per tensor, plain", "equal on these inputs"),
        ("attention QDQ u16s8 per tensor", "refused"),
        ("transformer QDQ u8u8 per tensor, plain", "no claim"),
        ("mlp_matmul MatMulNBits QOperator, block 32", "refused"),
    ],
)
def test_what_is_said_of_one_file(only: str, verdict: str, tmp_path: Path) -> None:
    ((_, _, found, reason),) = classified(tmp_path, only)
    assert found == verdict, reason


@pytest.mark.slow
def test_every_file(tmp_path: Path) -> None:
    assert_sound(classified(tmp_path), 0.7)
