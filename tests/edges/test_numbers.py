"""Numbers at the edge: the export is exact, or it is refused in one line that names the layer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tiny_models import KINDS

from mptq_export.cli.export import main
from mptq_export.verify.compare import verify_model

from .models import CHANGES, SHORT, State, checkpoint, short

#: What cannot be exported, and what the refusal must name; all else is exact.
REFUSED = {
    "hidden weights near the largest float": "blocks.1.norm1",
    "values near the largest float": "blocks.0.attn.scores",
    "a residual near the largest float": "blocks.0.norm1",
    "biases near the largest float": "blocks.1.norm1",
}
#: One of every sort, for the fast tests.
FAST = (
    "a dead channel of a layer norm",
    "one query channel 10,000 times the others",
    "all layer norms that give nothing",
    "everything zero",
    "one residual channel 10,000 times the others",
    "weights near the largest float",
    "weights below the smallest normal float",
    "a residual near the largest float",
    "logits that are all bias",
)
#: Inputs that a float32 file can get: images, nothing, the ends of what a pixel can be, and what no pixel can be.
EXTREMES = (0.0, -1e4, 1e4, 3e38, -3e38)


def export(folder: Path, content: dict[str, Any], *options: object) -> Result:
    torch.save(content, folder / "m.pt")
    arguments = [folder / "m.pt", "--count", 4, "-o", folder / "m.onnx", *options]
    return CliRunner().invoke(main, list(map(str, arguments)))


def exact(folder: Path, content: dict[str, Any]) -> None:
    """Random and extreme inputs give the same bits in both."""
    edge = content["model_kwargs"]["img_size"]
    generator = np.random.default_rng(0)
    batches = [generator.standard_normal((2, 3, edge, edge)).astype(np.float32)]
    batches += [np.full((1, 3, edge, edge), value, np.float32) for value in EXTREMES]
    report = verify_model(folder / "m.onnx", batches)
    assert report.passed, [tensor.name for tensor in report.diverging]


def holds(folder: Path, content: dict[str, Any], bits: str, named: str | None) -> None:
    result = export(folder, content, "--bits", bits)
    assert not result.exception or isinstance(result.exception, SystemExit), result.exc_info
    if named is None:
        assert result.exit_code == 0, result.stderr
        exact(folder, content)
    else:
        assert result.exit_code == 2, result.output
        message = result.stderr.splitlines()[-1]
        assert message.startswith("error: ") and named in message, message
        assert not (folder / "m.onnx").exists()


@pytest.mark.parametrize("name", FAST)
def test_weights_at_the_edge(tmp_path: Path, name: str):
    holds(tmp_path, checkpoint(CHANGES[name]), "4/4", REFUSED.get(name))


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["8/8", "6/6", "4/4", "2/2"])
@pytest.mark.parametrize("name", CHANGES)
def test_all_weights_at_the_edge(tmp_path: Path, name: str, bits: str):
    holds(tmp_path, checkpoint(CHANGES[name]), bits, REFUSED.get(name))


@pytest.mark.parametrize("name", ["one token", "one channel a head"])
def test_a_short_model(tmp_path: Path, name: str):
    holds(tmp_path, short(name), "4/4", None)


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["8/8", "6/6", "4/4", "2/2"])
@pytest.mark.parametrize("name", SHORT)
def test_all_short_models(tmp_path: Path, name: str, bits: str):
    holds(tmp_path, short(name), bits, None)


def untouched(_: State) -> None:
    pass


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
def test_constant_images(tmp_path: Path, value: float):
    """Every activation of a token is the same in all images."""
    np.save(tmp_path / "x.npy", np.full((4, 3, 32, 32), value, np.float32))
    content = checkpoint(untouched)
    result = export(tmp_path, content, "--bits", "4/4", "--calib", tmp_path / "x.npy", "--any-range")
    assert result.exit_code == 0, (result.stderr, result.exc_info)
    exact(tmp_path, content)


def test_one_image(tmp_path: Path):
    content = checkpoint(untouched)
    result = export(tmp_path, content, "--count", 1)
    assert result.exit_code == 0, (result.stderr, result.exc_info)
    exact(tmp_path, content)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_images_that_are_no_images(tmp_path: Path, value: float):
    images = np.zeros((4, 3, 32, 32), np.float32)
    images[1, 0, 5, 5] = value
    np.save(tmp_path / "x.npy", images)
    result = export(tmp_path, checkpoint(untouched), "--calib", tmp_path / "x.npy")
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "m.onnx").exists()


def test_the_list_is_complete():
    assert {*REFUSED, *FAST} <= {*CHANGES} and KINDS["vit"][1]["img_size"] == 32
