"""mptq-export from the command line: good runs."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from captured import Captures
from tiny_models import KINDS, images, pixels, tiny

import mptq_export
from mptq_export.recipe.store import read_recipe
from mptq_export.verify.compare import verify_model
from mptq_export.verify.session import open_session

from .helpers import ARCH, KIND, WRITTEN, files, run, save


def test_a_good_run_writes_its_files_and_a_summary(work: Path):
    before = set(files(work))
    result = run(work / "m.pt", "--calib", work / "calib")
    assert result.exit_code == 0, result.output
    assert set(files(work)) - before == WRITTEN
    assert result.stderr == ""
    for words in (
        f"{ARCH} (named by the checkpoint)",
        "6 images of",
        "8/8 (weights/activations) in 10 layers",
        "method       best\n",
        "scores, GELU inputs and pixels 8, residual 16",
        " of the float32 weights\n",
        " ms until onnxruntime has a session\n",
        "0 matmuls in float",
        "0 of ",
        "m.mptq.onnx",
    ):
        assert words in result.stdout, result.stdout
    model = onnx.load(work / "m.mptq.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert [metadata[f"mptq.{key}"] for key in ("arch", "bits", "method")] == [ARCH, "8/8", "best"]
    made = read_recipe(work / "m.mptq.recipe.json")
    assert made.model["arch"] == ARCH
    assert made.settings["calibration_images"] == 6
    assert made.proof
    assert verify_model(work / "m.mptq.onnx", [images(KIND, 2).numpy()]).passed


def metadata_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_viewer_shows_who_wrote_the_file_and_what_it_is(work: Path):
    assert run(work / "m.pt", "--calib", work / "calib", "--bits", "4/6").exit_code == 0
    model = onnx.load(work / "m.mptq.onnx")
    assert (model.producer_name, model.producer_version) == ("mptq-export", mptq_export.__version__)
    assert model.doc_string.startswith(f"{ARCH}, 4/6 bits (weights/activations), method best; written by mptq-export ")
    assert "mptq.class_names" not in metadata_of(work / "m.mptq.onnx")  # two folders, seven logits
    recipe = (work / "m.mptq.recipe.json").read_bytes()
    assert metadata_of(work / "m.mptq.onnx")["mptq.recipe_sha256"] == hashlib.sha256(recipe).hexdigest()


@pytest.mark.parametrize("named", [True, False])
def test_class_names_come_from_the_checkpoint_or_from_one_folder_a_logit(work: Path, named: bool):
    save(work / "m.pt", **({"class_names": list("abcdefg")} if named else {}))
    image = next((work / "calib").rglob("*.png"))
    for name in ("tench", "dog", "radio", "saw", "church", "horn", "truck"):
        (work / "classes" / name).mkdir(parents=True)
        shutil.copy(image, work / "classes" / name)
    assert run(work / "m.pt", "--calib", work / "classes").exit_code == 0
    found = metadata_of(work / "m.mptq.onnx")
    folders = ["church", "dog", "horn", "radio", "saw", "tench", "truck"]
    assert json.loads(found["mptq.class_names"]) == (list("abcdefg") if named else folders)
    assert found["mptq.class_names_from"] == ("checkpoint" if named else "calibration folders")
    again = ("--recipe", work / "m.mptq.recipe.json", "-o", work / "again.onnx")
    assert run(work / "m.pt", *again).exit_code == 0
    assert (work / "again.onnx").read_bytes() == (work / "m.mptq.onnx").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_exports(tmp_path: Path, kind: str):
    result = run(save(tmp_path / "m.pt", kind), "--count", 4, "--bits", "6/6")
    assert result.exit_code == 0, result.output
    x = images(kind, 2).numpy()
    assert open_session(tmp_path / "m.mptq.onnx").run(None, {"input": x})[0].shape == (2, 7)


def test_without_calibration_images_it_works_and_says_so(work: Path):
    result = run(work / "m.pt", "--count", 4)
    assert result.exit_code == 0, result.output
    assert "4 synthetic images (dead leaves, seed 0)" in result.stdout
    assert result.stderr.startswith("warning: calibrated on synthetic images")
    assert "accuracy suffers" in result.stderr
    assert "--calib" in result.stderr


def test_two_runs_give_the_same_bytes(work: Path, captures: Captures):
    results = []
    for name in ("a", "b"):
        captures.clear()
        (work / name).mkdir()
        assert run(work / "m.pt", "--calib", work / "calib", "-o", work / name / "m.onnx").exit_code == 0
        results.append({path: b for path, b in files(work / name).items() if ".report." not in path})
    assert results[0].keys() == {"m.onnx", "m.recipe.json", "m.recipe.safetensors"}
    assert results[0] == results[1]


def test_options_reach_the_file(work: Path):
    out, report = work / "other.onnx", work / "report.json"
    options = ("--bits", "4/6", "--input", "uint8", "--count", 3, "--weight-storage", "int8", "--json", report)
    result = run(work / "m.pt", "--calib", work / "calib", "-o", out, *options)
    assert result.exit_code == 0, result.output
    content = json.loads(report.read_text())
    assert (content["bits"], content["layers"], content["float_matmuls"]) == ("4/6", 10, 0)
    assert (content["method"], content["recipe"], content["differing_values"]) == ("best", None, 0)
    assert content["load_ms"] > 0
    assert content["compared_values"] > 0
    assert content["onnx_bytes"] == out.stat().st_size
    made = read_recipe(work / "other.recipe.json")
    assert (made.settings["bits"], made.settings["input"], made.settings["calibration_images"]) == ("4/6", "uint8", 3)
    assert open_session(out).run(None, {"input": pixels(KIND, 2).numpy()})[0].shape == (2, 7)


def test_the_paper_is_a_method(work: Path):
    result = run(work / "m.pt", "--calib", work / "calib", "--method", "paper", "--bits", "4/4")
    assert result.exit_code == 0, result.output
    assert "method       paper\n" in result.stdout
    made = read_recipe(work / "m.mptq.recipe.json")
    assert (made.settings["method"], made.settings["bits"], made.settings["pixel_inputs"]) == ("paper", "4/4", True)
    assert all(quant.reason == "min/max scales" for quant in made.weights.values())
    assert made.smoothing


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_images_are_enough(work: Path, count: int):
    result = run(work / "m.pt", "--calib", work / "calib", "--count", count)
    assert result.exit_code == 0, (result.output, result.exception)


def test_an_array_of_inputs_calibrates_too(work: Path):
    array = work / "inputs.npz"
    np.savez(array, images(KIND, 5).numpy())
    result = run(work / "m.pt", "--calib", array)
    assert result.exit_code == 0, result.output
    assert "5 inputs of" in result.stdout


def test_a_corrupt_image_among_good_ones_is_skipped_with_a_count(work: Path):
    for name in ("x.png", "y.jpg"):
        (work / "calib" / "class0" / name).write_bytes(b"\x89PNG no image")
    result = run(work / "m.pt", "--calib", work / "calib")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("warning: skipped 2 corrupt images of ")
    assert "x.png" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "6 images of" in result.stdout


def test_force_replaces_all_files(work: Path):
    for name in WRITTEN:
        (work / name).write_text("old")
    assert run(work / "m.pt", "--calib", work / "calib", "--force").exit_code == 0
    assert all((work / name).read_bytes() != b"old" for name in WRITTEN)


def test_trust_opens_a_pickled_module(work: Path):
    torch.save(tiny(KIND), work / "m.pt")
    result = run(work / "m.pt", "--calib", work / "calib", "--trust")
    assert result.exit_code == 0, result.output
    assert set(files(work)) >= WRITTEN


def test_the_float_companion_is_the_float_model(work: Path):
    path = work / "float.onnx"
    assert run(work / "m.pt", "--calib", work / "calib", "--float-onnx", path).exit_code == 0
    x = images(KIND, 3)
    got = open_session(path).run(None, {"input": x.numpy()})[0]
    assert np.abs(got - tiny(KIND)(x).numpy()).max() < 1e-4
