"""mptq-export from the command line: good runs."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from remembered import Memory
from tiny_models import images, pixels, tiny

import mptq_export
from mptq_export.load.loaders import load_model
from mptq_export.recipe.store import read_recipe
from mptq_export.runtime.session import open_session
from mptq_export.verify.compare import verify_model

from .helpers import ARCH, FEW, KIND, WRITTEN, files, run, save


def test_a_good_run_writes_its_files_and_a_summary(work: Path):
    before = set(files(work))
    result = run(work / "m.pt", "--calib", work / "calib")
    assert result.exit_code == 0, result.output
    assert set(files(work)) - before == WRITTEN
    assert result.stderr == FEW
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
    assert not any(line.startswith(("farthest", "more")) for line in result.stdout.splitlines())
    model = onnx.load(work / "m.mptq.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert [metadata[f"mptq.{key}"] for key in ("arch", "bits", "method")] == [ARCH, "8/8", "best"]
    made = read_recipe(work / "m.mptq.recipe.json")
    assert made.model.arch == ARCH
    assert made.settings.calibration.images == 6
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


def test_without_calibration_images_it_works_and_says_so(work: Path):
    result = run(work / "m.pt", "--count", 4)
    assert result.exit_code == 0, result.output
    assert "4 synthetic images (dead leaves, seed 0)" in result.stdout
    assert result.stderr.startswith("warning: calibrated on synthetic images")
    assert "accuracy suffers" in result.stderr
    assert "--calib" in result.stderr


def test_two_runs_give_the_same_bytes(work: Path, memory: Memory):
    results = []
    for name in ("a", "b"):
        memory.forget()
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
    settings = made.settings
    assert (settings.bits, settings.input_type, settings.calibration.images) == ("4/6", "uint8", 3)
    assert open_session(out).run(None, {"input": pixels(KIND, 2).numpy()})[0].shape == (2, 7)


@pytest.mark.parametrize("method", ["minmax", "paper"])
def test_the_paper_and_plain_rounding_are_methods(work: Path, method: str):
    result = run(work / "m.pt", "--calib", work / "calib", "--method", method, "--bits", "4/4")
    assert result.exit_code == 0, result.output
    assert f"method       {method}\n" in result.stdout
    made = read_recipe(work / "m.mptq.recipe.json")
    settings = made.settings
    assert (settings.method, settings.bits, settings.calibration.pixel_inputs) == (method, "4/4", True)
    assert all(quant.reason == "min/max scales" for quant in made.weights.values())
    assert bool(made.sq_b) == (method == "paper")
    assert any(quant.regions for quant in made.activations.values()) == (method == "paper")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_images_are_enough(work: Path, count: int):
    result = run(work / "m.pt", "--calib", work / "calib", "--count", count)
    assert result.exit_code == 0, (result.output, result.exception)


def test_an_array_of_inputs_calibrates_too(work: Path):
    array = work / "inputs.npz"
    inputs = load_model(work / "m.pt").preprocessing.normalize(pixels(KIND, 5).numpy())
    np.savez(array, inputs)
    result = run(work / "m.pt", "--calib", array)
    assert result.exit_code == 0, result.output
    assert f"5 inputs of {array}, array arr_0\n" in result.stdout
    np.savez(array, pixels(KIND, 5).numpy().transpose(0, 3, 1, 2).astype(np.float32))
    told = run(work / "m.pt", "--calib", array, "--force").stderr
    assert "holds values from" in told and "pixels of 0..255 that were not normalised" in told


def test_images_that_are_left_out_are_said_and_counted(work: Path):
    for name in ("x.png", "y.jpg"):
        (work / "calib" / "class0" / name).write_bytes(b"\x89PNG no image")
    asked = (work / "m.pt", "--calib", work / "calib", "--json", work / "report.json")
    told = run(*asked).stderr
    assert told.startswith(
        f"error: 2 of 8 images of {work / 'calib'} cannot be used, more than a tenth (class0/x.png: "
    )
    assert "--allow-skipped" in told
    result = run(*asked, "--allow-skipped", "--kit", work / "kit")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"warning: left out 2 of 8 images of {work / 'calib'} (class0/x.png: ")
    assert "6 images of" in result.stdout
    assert json.loads((work / "report.json").read_text())["calibration_skipped"] == 2
    assert "--allow-skipped" in (work / "m.mptq.report.html").read_text()


def test_images_turned_by_exif(work: Path):
    exif = Image.Exif()
    exif[0x0112] = 3
    for file in (work / "calib").rglob("*.png"):
        Image.open(file).save(file, exif=exif)
    plain = run(work / "m.pt", "--calib", work / "calib", "-o", work / "plain.onnx")
    assert "6 of 6 images of" in plain.stderr and "--exif turns them" in plain.stderr
    result = run(work / "m.pt", "--calib", work / "calib", "--exif", "-o", work / "turned.onnx")
    assert result.exit_code == 0 and "EXIF orientation" not in result.stderr
    assert f"6 images of {work / 'calib'}, turned by EXIF\n" in result.stdout
    assert metadata_of(work / "turned.onnx")["mptq.exif"] == "true"
    assert "mptq.exif" not in metadata_of(work / "plain.onnx")
    assert run(work / "m.pt", "--recipe", work / "turned.recipe.json", "-o", work / "again.onnx").exit_code == 0
    assert (work / "again.onnx").read_bytes() == (work / "turned.onnx").read_bytes()


def test_a_class_map_names_the_classes(work: Path):
    (work / "classes.txt").write_text("class1\nclass0\n" + "".join(f"other{i}\n" for i in range(5)))
    asked = ("--calib", work / "calib", "--class-map", work / "classes.txt")
    result = run(work / "m.pt", *asked)
    assert result.exit_code == 0, result.output
    assert "classes      7, named by the class map\n" in result.stdout
    found = metadata_of(work / "m.mptq.onnx")
    assert json.loads(found["mptq.class_names"])[:3] == ["class1", "class0", "other0"]
    assert found["mptq.class_names_from"] == "class map"
    assert f"--class-map {work / 'classes.txt'}" in (work / "m.mptq.report.html").read_text()
    assert run(work / "m.pt", "--recipe", work / "m.mptq.recipe.json", "-o", work / "again.onnx").exit_code == 0
    assert (work / "again.onnx").read_bytes() == (work / "m.mptq.onnx").read_bytes()


def test_folders_that_are_not_the_classes_are_said(work: Path):
    save(work / "m.pt", class_names=list("abcdefg"))
    result = run(work / "m.pt", "--calib", work / "calib")
    assert result.exit_code == 0, result.output
    said = f"warning: no folder of {work / 'calib'} is a class of the model (class0 ...; the checkpoint names a ...): "
    assert said in result.stderr
    assert "classes      7, named by the checkpoint\n" in result.stdout


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
