"""Cheap mistakes are found first: before torch is imported or anything calibrated. Missing folders are made."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from tiny_models import images

from .helpers import ARCH, KIND, KWARGS, files, run, save

#: Runs command lines in a process that cannot import torch, and prints what each gives.
_WITHOUT_TORCH = """
import json, sys
sys.modules.update(torch=None, timm=None)
from click.testing import CliRunner
from mptq_export.cli.export import main
for line in json.load(sys.stdin):
    result = CliRunner().invoke(main, line)
    print(json.dumps([result.exit_code, result.output, repr(result.exception)]))
"""

_MISTAKES = {
    ("nope.pt",): "nope.pt does not exist",
    ("m.h5",): "is HDF5, as Keras writes it",
    ("m.jpg",): "neither a file of torch.save nor safetensors by its content",
    ("hub",): "hub is a folder without weights",
    ("m.pt", "--calib", "nope"): "--calib nope does not exist",
    ("m.pt", "--calib", "m.h5"): "neither a folder of images nor",
    ("m.pt", "--recipe", "nope.recipe.json"): "cannot read the recipe nope.recipe.json: it does not exist",
    ("m.pt", "--recipe", "hub"): "cannot read the recipe hub: it is a folder",
    ("m.pt", "--mixed", "1.5"): "--mixed 1.5 cannot be met: at the cheapest widths of 2-8 (pins stand)",
    ("m.pt", "--mixed", "9"): "--mixed 9 is above --mixed-range",
    ("m.pt", "--search", "nope.search.json", "--pick", "4"): "cannot read --search nope.search.json: No such file",
    ("m.pt", "--pick", "4"): "--pick asks a search that is stored",
    ("m.pt", "--mixed", "x"): "--mixed x is neither",
    (
        "m.pt",
        "--bits",
        "8/4",
        "--target",
        "qnn",
    ): "rule 'activation widths' of --target qnn: 8/4: 4 bits are not taken, the nearest that are is 8",
    ("m.pt", "--bits", "9/8"): "from 2 to 8",
    ("m.pt", "--mean", "a"): "--mean a is no list of numbers",
    ("m.pt", "--std", ""): "--std",
    ("m.pt", "--img-size", "0"): "--img-size 0 is neither",
    ("m.pt", "--crop-pct", "x"): "--crop-pct",
    ("m.pt", "--crop-mode", "round"): "--crop-mode",
    ("m.pt", "--interpolation", "magic"): "--interpolation",
    ("m.pt", "--in-chans", "0"): "--in-chans",
    ("m.pt", "--img-size", "64", "--model-kwargs", '{"img_size": 32}'): "contradict each other",
    ("m.pt", "-o", "m.pt"): "cannot write m.pt",
    ("m.pt", "-o", "hub"): "it is a folder",
}


def test_mistakes_that_need_no_torch(work: Path):
    (work / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (work / "m.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (work / "hub").mkdir()
    (work / "hub" / "config.json").write_text(json.dumps({"architecture": ARCH}))
    before = files(work)
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH],
        input=json.dumps(list(_MISTAKES)),
        cwd=work,
        capture_output=True,
        text=True,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for (line, words), (status, output, exception) in zip(_MISTAKES.items(), results, strict=True):
        assert (status, output.count("\n")) == (2, 1), (line, output, exception)
        assert output.startswith("error: ") and words in output, (line, output)
    assert files(work) == before


def stopped(*_: object, **__: object) -> None:
    raise AssertionError("it came too late")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--pin", "block.*=4/4"), ("--pin block.* matches no layer", "blocks.")),
        (("--mixed", "4", "--pin", "nope=4/4"), ("--pin nope matches no layer",)),
        (("--mixed", "3.1", "--pin", "blocks.*=8/8"), ("--mixed 3.1 cannot be met", "mean widths")),
        (("--mixed", "1kB"), ("--mixed 1kB cannot be met", "MB of codes alone")),
    ],
)
def test_mistakes_that_the_graph_shows(
    work: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    words: tuple[str, ...],
):
    monkeypatch.setattr(import_module("mptq_export.calibrate.calibrated"), "collect", stopped)
    refused(work / "m.pt", "--calib", work / "calib", *options, words=words)


def test_a_device_before_the_model(work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(import_module("mptq_export.export.run"), "load_asked", stopped)
    refused(work / "m.pt", "--device", "warp9", words=("--device warp9 cannot be used", "--device cpu"))


def test_a_range_that_the_target_does_not_take(work: Path, refused: Callable[..., str]):
    options = ("--mixed", "6", "--mixed-range", "5-7", "--target", "qnn")
    refused(work / "m.pt", *options, words=("rule 'widths' of --target qnn", "--mixed-range 5-7 leaves"))


def test_missing_folders_are_made(work: Path):
    out, report, floats, kit = (work / name / "b" / name for name in ("o.onnx", "r.json", "f.onnx", "kit"))
    options = ("-o", out, "--json", report, "--float-onnx", floats, "--kit", kit)
    result = run(work / "m.pt", "--calib", work / "calib", "--method", "paper", *options)
    assert result.exit_code == 0, (result.output, result.exception)
    assert all(path.exists() for path in (out, report, floats, kit))


# -- the lines about weights and input ---------------------------------------------------------------------------------


def test_the_summary_says_what_was_read(work: Path):
    options = ("--mean", "0.485 0.456,0.406", "--crop-pct", "0.8", "--method", "paper", "--json", work / "r.json")
    result = run(work / "m.pt", "--calib", work / "calib", *options)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "weights      state_dict of the file\n" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("input "))
    for words in (
        "32x32 (the checkpoint's model_kwargs)",
        "RGB (the weights)",
        "mean 0.485 0.456 0.406 (--mean)",
        "crop 0.8 (--crop-pct)",
        f"bicubic, center (the default of {ARCH}, which nothing in the checkpoint confirms)",
    ):
        assert words in line
    content = json.loads((work / "r.json").read_text())
    assert content["weights"] == "state_dict of the file"
    assert content["input"]["mean"] == {"value": [0.485, 0.456, 0.406], "from": "--mean"}
    assert content["input"]["img_size"]["value"] == [32, 32]
    assert any("would have been mean 0.5, crop_pct 0.9" in note for note in content["notes"])
    evidence = json.loads((work / "m.mptq.report.json").read_text())
    assert line.removeprefix("input").strip() == evidence["input"]
    assert "--mean 0.485,0.456,0.406 --crop-pct 0.8" in evidence["command"]
    page = (work / "m.mptq.report.html").read_text()
    assert "crop 0.8 (--crop-pct)" in page and "state_dict of the file" in page
    assert "mptq-export MODEL --mean 0.485,0.456,0.406 --crop-pct 0.8 --recipe m.mptq.recipe.json" in page


def test_a_recipe_asks_for_the_same_options(work: Path, refused: Callable[..., str]):
    assert run(work / "m.pt", "--calib", work / "calib", "--mean", "0.3", "--method", "paper").exit_code == 0
    recipe = ("--recipe", work / "m.mptq.recipe.json", "-o", work / "b.onnx")
    refused(
        work / "m.pt", *recipe, words=("its preprocessing has mean [0.3, 0.3, 0.3]", "give the same --mean as then")
    )
    refused(work / "m.pt", *recipe, "--mean", "0.3", "--std", "0.9", words=("give the same --std",))
    result = run(work / "m.pt", *recipe, "--mean", "0.3")
    assert result.exit_code == 0, (result.output, result.exception)
    assert (work / "b.onnx").read_bytes() == (work / "m.mptq.onnx").read_bytes()


# -- channels ----------------------------------------------------------------------------------------------------------


def channels(folder: Path, count: int) -> Path:
    torch.manual_seed(0)
    model = timm.create_model(ARCH, in_chans=count, **KWARGS)
    return save(folder / "c.pt", state_dict=model.state_dict())


def test_pictures_are_no_input_of_four_channels(work: Path, refused: Callable[..., str]):
    model = (channels(work, 4), "--mean", "0.5", "--std", "0.5")
    for calibration in ((), ("--calib", work / "calib")):
        refused(*model, *calibration, words=("takes 4 channels, and pictures have 1 or 3", "--calib", ".npy"))


@pytest.mark.parametrize(("count", "input_type"), [(2, "uint8"), (4, "float32")])
def test_arrays_of_any_number_of_channels(work: Path, count: int, input_type: str):
    pixels = np.random.default_rng(0).integers(0, 256, (16, count, 32, 32)).astype(np.float32)
    np.save(work / "x.npy", (pixels / 255 - 0.5) / 0.5)
    said = ("--mean", "0.5", "--std", "0.5", "--method", "paper", "--input", input_type)
    more = ("--kit", work / "kit", *(("--float-onnx", work / "f.onnx") if count == 4 else ()))
    result = run(channels(work, count), "--calib", work / "x.npy", *said, *more)
    assert result.exit_code == 0, (result.output, result.exception)
    assert {1: "grey"}.get(count, f"{count} channels") + " (the weights)" in result.stdout
    recipe = ("--recipe", work / "c.mptq.recipe.json", "-o", work / "b.onnx", "--kit", work / "kit2")
    result = run(work / "c.pt", *recipe, *said[:4])
    assert result.exit_code == 0, (result.output, result.exception)
    assert (work / "b.onnx").read_bytes() == (work / "c.mptq.onnx").read_bytes()


def test_grey_pictures(work: Path):
    result = run(channels(work, 1), "--calib", work / "calib", "--mean", "0.5", "--std", "0.5", "--method", "paper")
    assert result.exit_code == 0, (result.output, result.exception)
    assert images(KIND, 1).shape[1] == 3  # the pictures themselves are RGB


def test_the_float_model_of_an_evaluation_gets_the_input_of_the_file(work: Path):
    """Mean and std that an option gave the export are those of its float model too."""
    from mptq_export.cli.eval import main

    options = ("--mean", "0.1", "--std", "0.9", "--count", 6)
    assert run(work / "m.pt", "--calib", work / "calib", *options).exit_code == 0
    for name in "cdefg":
        (work / "calib" / f"class{name}").mkdir()
        image = next((work / "calib" / "class0").iterdir())
        (work / "calib" / f"class{name}" / "x.png").write_bytes(image.read_bytes())
    line = [work / "m.mptq.onnx", "--data", work / "calib", "--float", work / "m.pt", "--json", work / "e.json"]
    result = CliRunner().invoke(main, [str(word) for word in line])
    assert result.exit_code == 0, (result.output, result.exception)
    assert json.loads((work / "e.json").read_text())["mean_kl"] < 0.01
