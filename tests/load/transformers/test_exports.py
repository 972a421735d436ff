"""Folders of transformers as exact files, from the command line and from Python."""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from cli.helpers import run
from PIL import Image

from mptq_export.api import calibrate, export, load

library = pytest.importorskip("transformers", reason="folders of transformers are read by transformers")
from transformers_models import KINDS, MORE, Kind, saved  # noqa: E402 - it needs the library

COUNT = 8
#: One of its ops has no exact form: a norm over the whole map.
WITHOUT = {"convnextv2"}


def pictures(folder: Path) -> Path:
    """A few smooth pictures of no shape in particular."""
    folder.mkdir()
    for number in range(COUNT):
        coarse = np.random.default_rng(number).integers(0, 256, (5, 4 + number % 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((50 + number, 61), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def exact_at(bits: tuple[int, int], kind: Kind, folder: Path) -> None:
    """Export a folder, verify the file, and compare it with the float model at batches of 1 and 3."""
    saved(kind, folder / "model")
    model = load(folder / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, kind.size, kind.size, 3), dtype=np.uint8)
    inputs = model.preprocessing.normalize(pixels)
    np.save(folder / "inputs.npy", inputs)
    exported = export(calibrate(model, folder / "inputs.npy"), folder / "m.onnx", bits=bits, method="paper")
    assert exported.verification.passed
    assert exported.verification.differing == 0
    session = ort.InferenceSession(folder / "m.onnx")
    assert {output.name: kind.outputs[output.name] for output in session.get_outputs()} == kind.outputs
    for batch in (1, 3):
        given = session.run(None, {"input": inputs[:batch]})
        with torch.no_grad():
            theirs = model.model(torch.from_numpy(inputs[:batch]))
        for ours, own in zip(given, theirs if isinstance(theirs, tuple) else (theirs,), strict=True):
            assert ours.shape == own.shape
            if bits == (8, 8):
                assert np.linalg.norm(ours - own.numpy()) < 0.15 * np.linalg.norm(own.numpy())


def test_a_file_of_two_outputs_is_exact_and_near_the_float_model(tmp_path: Path):
    exact_at((8, 8), KINDS["yolos"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [(8, 8), (4, 4)], ids=["8", "4"])
@pytest.mark.parametrize("name", [name for name in KINDS | MORE if name not in WITHOUT])
def test_all_kinds_are_exact(tmp_path: Path, name: str, bits: tuple[int, int]):
    exact_at(bits, (KINDS | MORE)[name], tmp_path)


def test_the_command_line_and_a_replay(tmp_path: Path):
    saved(KINDS["clip"], tmp_path / "clip")
    options = ["--outputs", "image_embeds,last_hidden_state", "--calib", pictures(tmp_path / "photos")]
    first = run(
        tmp_path / "clip", *options, "--method", "paper", "-o", tmp_path / "a.onnx", "--json", tmp_path / "a.json"
    )
    assert first.exit_code == 0, first.output
    told = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert any("the text tower left out" in note for note in told["notes"])
    again = run(tmp_path / "clip", "--recipe", tmp_path / "a.recipe.json", "-o", tmp_path / "b.onnx")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
