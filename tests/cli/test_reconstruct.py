"""mptq-export --reconstruct: what it writes, how it goes on after an interruption, and what it refuses."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mptq_export.api import calibrate, load
from mptq_export.export import learn
from mptq_export.quantize.reconstruct import run as learning
from mptq_export.quantize.reconstruct.learning import Learning

from .helpers import run

SUFFIXES = ("onnx", "recipe.json", "recipe.safetensors")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "Learning", partial(Learning, steps=6, batch=4))


def learned(work: Path, *arguments: object) -> Any:
    return run(work / "m.pt", "--calib", work / "calib", "--bits", "3/3", "--reconstruct", *arguments)


def break_at(block: int, patch: pytest.MonkeyPatch) -> None:
    """Interrupt the learning of a block."""
    fit = learning.BlockFit
    left = [block]

    class Broken(fit):  # type: ignore[misc, valid-type]
        def learn(self, tick: Callable[[], None]) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return super().learn(tick)

    patch.setattr(learning, "BlockFit", Broken)


def test_an_interrupted_reconstruction_goes_on_to_the_same_bytes_and_replays(
    work: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
):
    result = learned(work, "-o", work / "a.onnx")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "--reconstruct learns from" in result.stderr  # fewer than 32 images
    assert not (work / "a.learned").exists()
    recipe = json.loads((work / "a.recipe.json").read_text())
    assert any("learned with its block" in entry["reason"] for entry in recipe["weights"].values())

    with monkeypatch.context() as patch:
        break_at(3, patch)
        assert learned(work, "-o", work / "b.onnx").exit_code != 0
    assert not list(work.glob("b.*onnx"))
    assert len(list((work / "b.learned").iterdir())) == 2
    refused(
        *(work / "m.pt", "--calib", work / "calib", "--bits", "3/3", "--reconstruct", "-o", work / "b.onnx"),
        words=("b.learned", "--resume", "--force"),
    )
    assert learned(work, "-o", work / "b.onnx", "--resume").exit_code == 0
    assert not (work / "b.learned").exists()
    assert run(work / "m.pt", "--recipe", work / "a.recipe.json", "-o", work / "c.onnx").exit_code == 0
    for suffix in SUFFIXES:
        assert (work / f"a.{suffix}").read_bytes() == (work / f"b.{suffix}").read_bytes()
    assert (work / "a.onnx").read_bytes() == (work / "c.onnx").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume",), ("--resume", "neither is asked for")),
        (("--reconstruct", "--resume"), ("there is no journal", "m.mptq.learned")),
        (("--reconstruct", "--target", "qnn"), ("--reconstruct", "exact form", "--target qnn")),
    ],
)
def test_what_cannot_be_learned_is_refused(
    work: Path, refused: Callable[..., str], arguments: tuple[str, ...], words: tuple[str, ...]
):
    refused(work / "m.pt", "--calib", work / "calib", "--bits", "4/8", *arguments, words=words)


def test_images_that_calibration_left_judge_what_was_learned():
    digits = Path(__file__).resolve().parents[2] / "examples" / "digits"
    model = load(digits / "digits_vit.pt")
    some = calibrate(model, digits / "calib", count=30)
    found = learn.held_back_images(some)
    assert found is not None and len(found) >= 32
    assert all(not any(torch.equal(image, other) for other in some.images) for image in found)
    assert learn.held_back_images(calibrate(model, digits / "calib", count=100)) is None


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["3/3", "2/4"])
def test_a_real_model_is_learned_as_long_as_always_and_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: str
):
    """The digits model, with weights in regions or without: the export itself proves the file on 43 inputs."""
    monkeypatch.setattr(learn, "Learning", Learning)
    digits = Path(__file__).resolve().parents[2] / "examples" / "digits"
    out = tmp_path / "d.onnx"
    result = run(
        digits / "digits_vit.pt", "--calib", digits / "calib", "--bits", bits, "--reconstruct", "-o", out, "-v"
    )
    assert result.exit_code == 0, (result.output, result.exception)
    assert "0 of" in result.stdout and "values differ" in result.stdout
    recipe = json.loads(out.with_suffix(".recipe.json").read_text())
    noted = [entry["reason"] for entry in recipe["weights"].values() if "learned with its block" in entry["reason"]]
    assert len(noted) > len(recipe["weights"]) // 3
    assert (
        run(digits / "digits_vit.pt", "--recipe", out.with_suffix(".recipe.json"), "-o", tmp_path / "r.onnx").exit_code
        == 0
    )
    assert out.read_bytes() == (tmp_path / "r.onnx").read_bytes()
