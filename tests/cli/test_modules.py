"""Modules of one's own on the command line: what makes them, which outputs, what mptq-verify and mptq-eval say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from own_modules import scores

from mptq_export.cli import eval as evaluation
from mptq_export.cli import verify as verification

from .helpers import run

INPUT = ("--img-size", 32, "--mean", 0.5, "--std", 0.5)


def test_from_a_function_to_a_file_with_four_outputs(work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(work)
    summary = work / "summary.json"
    result = run("own_modules:four", *INPUT, "--calib", "calib", "--method", "paper", "--json", summary)
    assert result.exit_code == 0, (result.output, result.exception)
    for words in (
        "model        Four (made by own_modules:four)",
        "outputs      logits, pred_boxes (values), last_hidden_state (tokens), pooler_output (embedding)",
        "note         kinds of the outputs by their names and axes",
    ):
        assert words in result.stdout
    assert json.loads(summary.read_text())["outputs"][1] == {"name": "pred_boxes", "kind": "values"}
    checked = CliRunner().invoke(verification.main, ["four.mptq.onnx", "--recipe", "four.mptq.recipe.json"])
    assert checked.exit_code == 0
    assert "exact: 0 differing values" in checked.stdout
    (work / "classes.txt").write_text("class0\nclass1\nc\nd\ne\n")
    command = ["four.mptq.onnx", "--data", "calib", "--float", "own_modules:four", "--class-map", "classes.txt"]
    measured = CliRunner().invoke(evaluation.main, command)
    assert measured.exit_code == 0, (measured.output, measured.exception)
    assert "6 images, 4 outputs" in measured.stdout
    assert "agreement with float" in measured.stdout


def test_a_score_without_a_name_is_known_to_be_one(work: Path):
    out = work / "m.onnx"
    asked = (*INPUT, "--calib", work / "calib", "--method", "paper", "--outputs", "logits")
    result = run("own_modules:scores", *asked, "-o", out)
    assert result.exit_code == 0, (result.output, result.exception)
    torch.save(scores(), work / "m.pth")
    for options in ((f"--float={work / 'm.pth'}", "--trust"), ("--float=own_modules:scores",)):
        command = [str(out), "--data", str(work / "calib" / "class0"), *options]
        measured = CliRunner().invoke(evaluation.main, command)
        assert measured.exit_code == 0, (measured.output, measured.exception)
        assert "agreement with float 3 of 3 (" in measured.stdout


def test_the_outputs_are_chosen(work: Path):
    out = work / "o.onnx"
    chosen = ("--outputs", "last_hidden_state=values,logits")
    result = run("own_modules:four", *INPUT, "--calib", work / "calib", "--method", "paper", *chosen, "-o", out)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "outputs      last_hidden_state (values), logits" in result.stdout
    command = json.loads(out.with_suffix(".report.json").read_text())["command"]
    assert "own_modules:four --outputs last_hidden_state=values,logits" in command


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("own_modules:four", (), ("nothing says which images Four takes", "--img-size")),
        ("own_modules:four", ("--img-size", 32, "--mean", 0.5), ("how the pixels of Four are normalised; give --std",)),
        ("own_modules:four", (*INPUT, "--outputs", "logits,masks"), ("--outputs masks", "it has logits, pred_boxes")),
        ("own_modules:four", (*INPUT, "--outputs", "logits=class"), ("logits=class is no list", "kinds are logits,")),
        ("own_modules:four", (*INPUT, "--outputs", "logits,logits"), ("names logits twice",)),
        ("own_modules:four", (*INPUT, "--features", "0"), ("--features", "no way to feature maps of Four")),
        ("own_modules:broken", INPUT, ("own_modules.py:", "FileNotFoundError: weights.pt is not here")),
        ("own_modules:Masked", INPUT, ("needs more than pixels: mask, scale",)),
        ("own_modules:Branching", INPUT, ("cannot be captured", "own_modules.py:", "x.sum().item() > 0")),
        ("own_modules:Lengths", INPUT, ("the number of images is made a constant at", "len(x)")),
        ("own_modules:Fourier", INPUT, ("own_modules.py:", "uses aten.fft_fft.default")),
        ("nowhere_at_all:make", INPUT, ("names the Python module nowhere_at_all", "there is none here")),
    ],
)
def test_what_is_refused(work: Path, refused: Callable[..., str], name: str, options: tuple[object, ...], words: str):
    refused(name, *options, "--calib", work / "calib", "-o", work / "o.onnx", words=words)


def test_the_outputs_of_a_checkpoint_are_known(work: Path, refused: Callable[..., str]):
    data = ("--calib", work / "calib")
    refused(work / "m.pt", *data, "--outputs", "features", words=("--outputs features", "it has logits"))
    refused(work / "m.pt", *data, "--outputs", "logits=embedding", words=("logits of vit_tiny_patch16_224 is logits",))
    refused(work / "m.pt", *data, "--features", "0", "--outputs", "features.0", words=("exclude each other",))
