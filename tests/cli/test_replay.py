"""mptq-export --recipe: the same bytes without calibration images, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from remembered import Memory
from safetensors.numpy import load_file, save_file
from tiny_models import KINDS, images, pixels, tiny

from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.store import read_recipe, recipe_writers
from mptq_export.runtime.session import open_session
from mptq_export.support.files import write_together

from .conftest import filled
from .helpers import ARCH, FEW, KIND, KWARGS, run, save


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export of m.pt, for copying."""
    folder = filled(tmp_path_factory.mktemp("exported"))
    result = run(folder / "m.pt", "--calib", folder / "calib", "--bits", "4/5")
    assert result.exit_code == 0, (result.output, result.exception)
    return folder


@pytest.fixture
def recipe(work: Path, exported: Path) -> Path:
    """A recipe of m.pt, beside its file; the calibration images are gone."""
    for path in exported.glob("m.mptq.*"):
        shutil.copy(path, work)
    (work / "calib").rename(work / "hidden")
    return work / "m.mptq.recipe.json"


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite(path: Path, change: Callable[[ExportRecipe], object]) -> None:
    """Change a recipe with all its digests, as no editor would."""
    made = read_recipe(path)
    change(made)
    write_together(recipe_writers(made, path.with_name(path.name.removesuffix(".recipe.json") + ".onnx")))


# -- good runs ---------------------------------------------------------------------------------------------------------


def test_a_replay_gives_the_same_bytes(work: Path, recipe: Path, exported: Path, memory: Memory):
    out = work / "again.onnx"
    memory.forget()
    result = run(work / "m.pt", "--recipe", recipe, "-o", out)
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stderr == FEW
    assert f"6 images of {exported / 'calib'}, replayed from {recipe}" in result.stdout
    assert "4/5 (weights/activations) in 10 layers" in result.stdout
    for suffix in ("onnx", "recipe.json", "recipe.safetensors"):
        assert (work / f"again.{suffix}").read_bytes() == (work / f"m.mptq.{suffix}").read_bytes()


PIXELS = ("--method", "paper", "--input", "uint8", "--weight-storage", "int8")


@pytest.mark.parametrize(
    ("kind", "options"), [*((kind, ("--method", "best")) for kind in KINDS), ("vit", PIXELS), ("swin", PIXELS)]
)
def test_every_kind_of_model_exports_and_replays(tmp_path: Path, memory: Memory, kind: str, options: tuple[str, ...]):
    path = save(tmp_path / "m.pt", kind)
    result = run(path, "--count", 8, "--bits", "6/4", *options)
    assert result.exit_code == 0, (result.output, result.exception)
    memory.forget()
    result = run(path, "--recipe", tmp_path / "m.mptq.recipe.json", "-o", tmp_path / "b.onnx")
    assert result.exit_code == 0, (result.output, result.exception)
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "m.mptq.onnx").read_bytes()
    x = pixels(kind, 2) if options is PIXELS else images(kind, 2)
    assert open_session(tmp_path / "b.onnx").run(None, {"input": x.numpy()})[0].shape == (2, 7)


def test_inputs_that_are_no_pixels_replay(work: Path, refused: Callable[..., str]):
    np.save(work / "far.npy", images(KIND, 8).numpy() * 50)
    assert run(work / "m.pt", "--calib", work / "far.npy", "--any-range").exit_code == 0
    recipe = work / "m.mptq.recipe.json"
    assert not read_recipe(recipe).settings.calibration.pixel_inputs
    assert run(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx").exit_code == 0
    assert (work / "b.onnx").read_bytes() == (work / "m.mptq.onnx").read_bytes()
    arguments = (work / "m.pt", "--recipe", recipe, "--input", "uint8", "-o", work / "c.onnx")
    refused(*arguments, words=(str(recipe), "--input uint8", "not 8-bit pixels"))


def test_input_type_and_storage_may_change(work: Path, recipe: Path):
    out = work / "pixels.onnx"
    options = ("--input", "uint8", "--weight-storage", "int8", "-o", out)
    assert run(work / "m.pt", "--recipe", recipe, *options).exit_code == 0
    x = pixels(KIND, 2).numpy()
    floats = images(KIND, 2).numpy()
    settings = read_recipe(work / "pixels.recipe.json").settings
    assert (settings.input_type, settings.weight_storage) == ("uint8", "int8")
    got = open_session(out).run(None, {"input": x})[0]
    mean, std = (np.array(json.loads(settings.preprocessing[f"preprocessing.{key}"])) for key in ("mean", "std"))
    floats = ((x / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    expected = open_session(work / "m.mptq.onnx").run(None, {"input": floats})[0]
    assert np.array_equal(got, expected)


def test_a_recipe_may_be_replayed_over_itself(work: Path, recipe: Path, refused: Callable[..., str]):
    before = {path.name: path.read_bytes() for path in work.glob("m.mptq.*") if ".report." not in path.name}
    refused(work / "m.pt", "--recipe", recipe, words=("exists already", "--force"))
    assert run(work / "m.pt", "--recipe", recipe, "--force").exit_code == 0
    assert all((work / name).read_bytes() == content for name, content in before.items())


def test_the_float_companion_needs_no_images_either(work: Path, recipe: Path):
    path = work / "float.onnx"
    assert run(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", "--float-onnx", path).exit_code == 0
    assert open_session(path).run(None, {"input": images(KIND, 2).numpy()})[0].shape == (2, 7)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        ("--calib", "x"),
        ("--count", "128"),
        ("--bits", "8/8"),
        ("--method", "best"),
        ("--reconstruct",),
        ("--device", "cpu"),
    ],
)
def test_what_a_recipe_has_decided(work: Path, recipe: Path, refused: Callable[..., str], option: tuple[str, str]):
    refused(work / "m.pt", "--recipe", recipe, *option, words=("--recipe", option[0], "exclude each other", "leave"))


def test_a_recipe_that_is_not_there(work: Path, refused: Callable[..., str]):
    refused(work / "m.pt", "--recipe", work / "no.recipe.json", words=("no.recipe.json", "cannot read the recipe"))
    refused(work / "m.pt", "--recipe", work / "m.pt", words=("m.pt", "is not a recipe"))


def test_a_recipe_of_another_version(work: Path, recipe: Path, refused: Callable[..., str]):
    edit(recipe, lambda content: content.update(recipe_version=2))
    words = (str(recipe), "recipe version 2", "export again")
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=words)


def test_edited_bits(work: Path, recipe: Path, refused: Callable[..., str]):
    edit(recipe, lambda content: content["weights"]["head"].update(bits=3))
    words = (str(recipe), "head", "without quantizing again", "--bits")
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=words)


def test_a_recipe_without_a_setting(work: Path, recipe: Path, refused: Callable[..., str]):
    edit(recipe, lambda content: content["settings"]["calibration"].pop("pixel_inputs"))
    words = (str(recipe), "settings.calibration lacks pixel_inputs", "export again")
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=words)


def other_weights() -> dict[str, Any]:
    state = dict(tiny(KIND).state_dict())
    return {"state_dict": {**state, "head.bias": state["head.bias"] + 1e-3}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (other_weights, ("weights_sha256",)),
        (lambda: {"arch": "vit_small_patch16_224"}, ("architecture", ARCH, "vit_small_patch16_224")),
        (lambda: {"model_kwargs": {**KWARGS, "drop_rate": 0.1}}, ("model arguments", "drop_rate")),
        (lambda: {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}}, ("preprocessing",)),
    ],
)
def test_the_recipe_of_another_model(
    work: Path,
    recipe: Path,
    refused: Callable[..., str],
    changes: Callable[[], dict[str, Any]],
    words: tuple[str, ...],
):
    save(work / "other.pt", **changes())
    refused(work / "other.pt", "--recipe", recipe, words=(str(recipe), "another model", *words, "--calib"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: made.weights.pop("head"), ("weights lacks head", "the model has")),
        (lambda made: made.weights.update(x=made.weights["head"]), ("weights names x", "does not have")),
        (lambda made: made.activations.pop("head.input"), ("activations lacks head.input",)),
        (
            lambda made: made.sq_b.update(head=made.sq_b["blocks.0.norm1"]),
            ("smoothing names head", "does not have"),
        ),
        (lambda made: made.sq_b.pop("blocks.0.norm1"), ("smoothing lacks blocks.0.norm1",)),
        (lambda made: made.exponents.popitem(), ("exponents lacks",)),
        (
            lambda made: made.weights.update(head=made.weights["blocks.0.mlp.fc1"]),
            ("codes of head", "shape [128, 32]", "[7, 32]"),
        ),
    ],
)
def test_layers_that_do_not_fit(
    work: Path,
    recipe: Path,
    refused: Callable[..., str],
    change: Callable[[ExportRecipe], object],
    words: tuple[str, ...],
):
    rewrite(recipe, change)
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=(str(recipe), *words, "export again"))


def test_tensors_of_another_recipe(work: Path, recipe: Path, refused: Callable[..., str]):
    path = recipe.with_suffix(".safetensors")
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    tensors["head.bias"][0] += 1
    save_file(tensors, path)
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=(str(recipe), "head", "sha256"))
    path.unlink()
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=(path.name, "does not exist"))


def test_the_recipe_is_never_another_output(work: Path, recipe: Path, refused: Callable[..., str]):
    words = (recipe.name, "the recipe", "another")
    refused(work / "m.pt", "--recipe", recipe, "-o", recipe, "--force", words=words)
    words = (recipe.name, "--json", "would replace what is read", "another")
    refused(work / "m.pt", "--recipe", recipe, "--json", recipe, "-o", work / "b.onnx", words=words)


def test_an_edited_scale_that_is_not_certified(work: Path, recipe: Path, refused: Callable[..., str]):
    keys = [key for key in read_recipe(recipe).activations if "softmax" in key and key.endswith(".input")]
    edit(recipe, lambda content: content["activations"][keys[0]].update(scale=0.0123456789))
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=("cannot be proved exact",))


@pytest.mark.parametrize("value", ["cat", [1, 2], {"cat": 0}])
def test_class_names_that_are_none(work: Path, recipe: Path, refused: Callable[..., str], value: Any):
    edit(recipe, lambda content: content["settings"].update(classes={"names": value, "origin": "checkpoint"}))
    words = (str(recipe), "settings.classes.names is", "restore the file")
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=words)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("input_type", "float64", ("settings.input_type is 'float64'", "float32, uint8")),
        ("weight_storage", 3, ("settings.weight_storage is 3", "packed, int8")),
        ("method", "none", ("settings.method is 'none'", "paper, best")),
        ("target", "abacus", ("settings' target is 'abacus'",)),
        ("reconstruct", 0, ("settings.reconstruct is 0",)),
    ],
)
def test_a_setting_that_cannot_be(
    work: Path, recipe: Path, refused: Callable[..., str], setting: str, value: object, words: tuple[str, ...]
):
    edit(recipe, lambda content: content["settings"].update({setting: value}))
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=(str(recipe), *words, "restore the file"))


def test_a_pickled_module_replays(work: Path):
    torch.save(tiny(KIND), work / "whole.pt")
    assert run(work / "whole.pt", "--trust", "--count", 6).exit_code == 0
    recipe = work / "whole.mptq.recipe.json"
    assert run(work / "whole.pt", "--trust", "--recipe", recipe, "-o", work / "b.onnx").exit_code == 0
    assert (work / "b.onnx").read_bytes() == (work / "whole.mptq.onnx").read_bytes()
