"""mptq-export from the command line: good runs, and one line for every bad input."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file
from tiny_models import KINDS, images, pixels, tiny

from mptq_export.cli.export import main
from mptq_export.recipe.store import read_recipe
from mptq_export.verify.compare import verify_model
from mptq_export.verify.session import open_session

KIND = "vit"
ARCH, KWARGS = KINDS[KIND]
WRITTEN = {"m.mptq.onnx", "m.mptq.recipe.json", "m.mptq.recipe.safetensors"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def save(path: Path, kind: str = KIND, **changes: Any) -> Path:
    """A checkpoint in the form that training scripts write."""
    arch, kwargs = KINDS[kind]
    content = {"arch": arch, "model_kwargs": kwargs, "state_dict": dict(tiny(kind).state_dict()), **changes}
    torch.save(content, path)
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a checkpoint and calibration images."""
    save(tmp_path / "m.pt")
    for i, image in enumerate(pixels(KIND, 6).numpy()):
        folder = tmp_path / "calib" / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(work: Path) -> Callable[..., str]:
    """A function that runs the command, checks how a refusal must look, and gives its line."""

    def check(*arguments: object, words: tuple[str, ...]) -> str:
        before = files(work)
        result = run(*arguments)
        assert result.exit_code == 2, (result.output, result.exception)
        assert isinstance(result.exception, SystemExit)
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.stderr
        for word in words:
            assert word in result.stderr
        assert files(work) == before  # nothing left behind, nothing changed
        return result.stderr

    return check


# -- good runs ---------------------------------------------------------------------------------------------------------


def test_a_good_run_writes_three_files_and_a_summary(work: Path):
    before = set(files(work))
    result = run(work / "m.pt", "--calib", work / "calib")
    assert result.exit_code == 0, result.output
    assert set(files(work)) - before == WRITTEN
    assert result.stderr == ""
    for words in (
        f"{ARCH} (named by the checkpoint)",
        "6 images of",
        "8/8 (weights/activations) in 10 layers",
        "0 matmuls in float",
        "0 of ",
        "m.mptq.onnx",
    ):
        assert words in result.stdout, result.stdout
    model = onnx.load(work / "m.mptq.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert (metadata["mptq.arch"], metadata["mptq.bits"]) == (ARCH, "8/8")
    made = read_recipe(work / "m.mptq.recipe.json")
    assert made.model["arch"] == ARCH
    assert made.settings["calibration_images"] == 6
    assert made.proof
    assert verify_model(work / "m.mptq.onnx", [images(KIND, 2).numpy()]).passed


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
    assert "accuracy can suffer" in result.stderr
    assert "--calib" in result.stderr


def test_two_runs_give_the_same_bytes(work: Path):
    results = []
    for name in ("a", "b"):
        (work / name).mkdir()
        assert run(work / "m.pt", "--calib", work / "calib", "-o", work / name / "m.onnx").exit_code == 0
        results.append(files(work / name))
    assert results[0].keys() == {"m.onnx", "m.recipe.json", "m.recipe.safetensors"}
    assert results[0] == results[1]


def test_options_reach_the_file(work: Path):
    out, report = work / "other.onnx", work / "report.json"
    options = ("--bits", "4/6", "--input", "uint8", "--count", 3, "--weight-storage", "int8", "--json", report)
    result = run(work / "m.pt", "--calib", work / "calib", "-o", out, *options)
    assert result.exit_code == 0, result.output
    content = json.loads(report.read_text())
    assert (content["bits"], content["layers"], content["float_matmuls"]) == ("4/6", 10, 0)
    assert content["differing_values"] == 0
    assert content["compared_values"] > 0
    assert content["onnx_bytes"] == out.stat().st_size
    made = read_recipe(work / "other.recipe.json")
    assert (made.settings["bits"], made.settings["input"], made.settings["calibration_images"]) == ("4/6", "uint8", 3)
    assert open_session(out).run(None, {"input": pixels(KIND, 2).numpy()})[0].shape == (2, 7)


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


def test_force_replaces_all_three_files(work: Path):
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


# -- the checkpoint ----------------------------------------------------------------------------------------------------


def test_a_missing_checkpoint(work: Path, refused: Callable[..., str]):
    refused(work / "nope.pt", words=("nope.pt does not exist", "check the path"))
    refused(work, words=("is a folder",))
    (work / "m.h5").write_bytes(b"x")
    refused(work / "m.h5", words=("m.h5", ".safetensors"))


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_checkpoint(work: Path, refused: Callable[..., str], suffix: str, part: float):
    path = work / f"cut{suffix}"
    if suffix == ".pt":
        shutil.copy(work / "m.pt", path)
    else:
        save_file(dict(tiny(KIND).state_dict()), path, {"arch": ARCH, "model_kwargs": json.dumps(KWARGS)})
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    refused(path, words=(str(path), "truncated or corrupt"))


class Bomb:
    """Unpickling writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_that_would_run_code(work: Path, refused: Callable[..., str], plain: bool):
    bomb = Bomb(work / "exploded")
    if plain:
        (work / "bomb.pt").write_bytes(pickle.dumps(bomb))
    else:
        torch.save({"state_dict": tiny(KIND).state_dict(), "extra": bomb}, work / "bomb.pt")
    refused(work / "bomb.pt", words=("bomb.pt would run code", "--trust"))
    assert not (work / "exploded").exists()


def test_a_pickled_module_without_trust(work: Path, refused: Callable[..., str]):
    torch.save(tiny(KIND), work / "module.pt")
    refused(work / "module.pt", words=("module.pt would run code", "--trust"))


def test_an_unknown_architecture(work: Path, refused: Callable[..., str]):
    refused(work / "m.pt", "--arch", "vit_tiny_patch16_225", words=("vit_tiny_patch16_225", "vit_tiny_patch16_224"))
    refused(save(work / "n.pt", arch="my_net"), words=("no architecture 'my_net'",))


def test_tensors_of_no_known_family(work: Path, refused: Callable[..., str]):
    torch.save({"fc.weight": torch.ones(3, 3)}, work / "n.pt")
    refused(work / "n.pt", words=("n.pt", "--arch"))
    torch.save({"weights": 3}, work / "n.pt")
    refused(work / "n.pt", words=("holds no state dict",))


def test_missing_unexpected_and_misshapen_tensors(work: Path, refused: Callable[..., str]):
    state = dict(tiny(KIND).state_dict())
    state["blocks.0.mlp.fc1.bias"] = torch.zeros(9)
    state["blocks.0.norm9.bias"] = state.pop("blocks.0.norm1.bias")
    line = refused(save(work / "n.pt", state_dict=state), words=("n.pt does not fit", ARCH))
    assert "missing blocks.0.norm1.bias" in line
    assert "unexpected blocks.0.norm9.bias" in line
    assert "misshapen blocks.0.mlp.fc1.bias [9] instead of [128]" in line


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(work: Path, refused: Callable[..., str], bad: float):
    state = dict(tiny(KIND).state_dict())
    state["blocks.1.attn.proj.weight"] = state["blocks.1.attn.proj.weight"].clone()
    state["blocks.1.attn.proj.weight"][3, 3] = bad
    refused(save(work / "n.pt", state_dict=state), words=("blocks.1.attn.proj.weight holds 1 NaN or Inf",))


def test_a_weight_so_large_that_calibration_overflows(work: Path, refused: Callable[..., str]):
    state = dict(tiny(KIND).state_dict())
    state["blocks.0.attn.qkv.weight"] = torch.full((96, 32), 3e38)
    refused(save(work / "n.pt", state_dict=state), "--count", 2, words=("not finite", "check the checkpoint"))


def test_a_model_that_has_no_integer_form(work: Path, refused: Callable[..., str]):
    kwargs = {"num_classes": 7}
    import timm

    model = timm.create_model("resnet18", **kwargs)
    torch.save({"arch": "resnet18", "model_kwargs": kwargs, "state_dict": model.state_dict()}, work / "n.pt")
    refused(work / "n.pt", "--count", 2, words=("conv1", "convolution"))


def test_a_hub_name_that_does_not_exist(refused: Callable[..., str], work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(work)
    refused("timm:no_such_net", words=("no_such_net",))


# -- the calibration images --------------------------------------------------------------------------------------------


def test_calibration_folders_without_images(work: Path, refused: Callable[..., str]):
    (work / "empty").mkdir()
    refused(work / "m.pt", "--calib", work / "empty", words=("empty", "no images"))
    (work / "empty" / "notes.txt").write_text("x")
    refused(work / "m.pt", "--calib", work / "empty", words=("empty", "no images"))
    refused(work / "m.pt", "--calib", work / "nope", words=("nope",))
    refused(work / "m.pt", "--calib", work / "empty" / "notes.txt", words=("notes.txt", "neither a folder"))


def test_no_good_image_is_left(work: Path, refused: Callable[..., str]):
    (work / "bad").mkdir()
    for name in ("a.png", "b.jpg"):
        (work / "bad" / name).write_bytes(b"no image")
    refused(work / "m.pt", "--calib", work / "bad", words=("none of the 2 images", "can be decoded"))


def test_arrays_that_are_no_inputs(work: Path, refused: Callable[..., str]):
    np.save(work / "flat.npy", np.zeros((4, 3, 16, 16), np.float32))
    refused(work / "m.pt", "--calib", work / "flat.npy", words=("flat.npy", "32"))
    (work / "broken.npz").write_bytes(b"PK no archive")
    refused(work / "m.pt", "--calib", work / "broken.npz", words=("broken.npz",))
    bad = images(KIND, 2).numpy()
    bad[1, 0, 0, 0] = np.nan
    np.save(work / "nan.npy", bad)
    refused(work / "m.pt", "--calib", work / "nan.npy", words=("nan.npy",))


def test_inputs_that_are_no_pixels_cannot_make_a_pixel_file(work: Path, refused: Callable[..., str]):
    np.save(work / "far.npy", images(KIND, 4).numpy() * 50)
    refused(work / "m.pt", "--calib", work / "far.npy", "--input", "uint8", words=("far.npy", "not 8-bit pixels"))
    assert run(work / "m.pt", "--calib", work / "far.npy").exit_code == 0


# -- the options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", ["8", "9/8", "8/1", "8/8/8", "a/b", "", "8:8", "-4/8", "16/16", "08/8"])
def test_wrong_bits(work: Path, refused: Callable[..., str], bits: str):
    refused(work / "m.pt", "--bits", bits, words=("--bits", "from 2 to 8"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model-kwargs", "{no"), ("--model-kwargs is not JSON",)),
        (("--model-kwargs", "[1]"), ("--model-kwargs must be a JSON object",)),
        (("--model-kwargs", '{"no_such_option": 1}'), ("no_such_option",)),
        (("--model-kwargs", '{"depth": "two"}'), (ARCH, "'depth': 'two'", "--model-kwargs")),
        (("--count", "0"), ("--count",)),
        (("--input", "int8"), ("--input",)),
        (("--weight-storage", "zip"), ("--weight-storage",)),
        (("--frobnicate",), ("--frobnicate", "--help")),
        (("--device", "warp9"), ("--device warp9 cannot be used", "--device cpu")),
    ],
)
def test_wrong_options(work: Path, refused: Callable[..., str], arguments: tuple[str, ...], words: tuple[str, ...]):
    refused(work / "m.pt", "--calib", work / "calib", *arguments, words=words)


def test_no_model_at_all(refused: Callable[..., str]):
    refused(words=("MODEL", "--help"))


# -- the output --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_an_existing_output_is_kept(work: Path, refused: Callable[..., str], name: str):
    (work / name).write_text("precious")
    refused(work / "m.pt", "--calib", work / "calib", words=(f"{name} exists already", "--force"))


def test_outputs_that_cannot_be_written(work: Path, refused: Callable[..., str]):
    refused(work / "m.pt", "-o", work / "no" / "m.onnx", words=("cannot write", "does not exist"))
    refused(work / "m.pt", "-o", work / "calib", words=("cannot write", "it is a folder"))
    refused(work / "m.pt", "-o", work / "m.pt" / "m.onnx", words=("cannot write",))
    refused(work / "m.pt", "--float-onnx", work / "no" / "f.onnx", words=("cannot write", "does not exist"))
    refused(work / "m.pt", "--json", work / "no" / "r.json", words=("cannot write", "does not exist"))


def test_a_folder_that_may_not_be_written(work: Path, refused: Callable[..., str]):
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a folder that even root cannot write")
    refused(work / "m.pt", "-o", "/proc/self/m.onnx", words=("cannot write /proc/self/m.onnx",))


def test_a_full_disk_leaves_nothing(work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    def full(_model: onnx.ModelProto, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", full)
    refused(work / "m.pt", "--calib", work / "calib", words=("m.mptq.onnx", "No space left on device"))


def test_a_disk_that_fills_with_the_recipe_leaves_nothing(
    work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    import safetensors.numpy

    def full(_tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    refused(work / "m.pt", "--calib", work / "calib", words=("recipe.safetensors", "No space left on device"))


def test_a_file_that_is_not_exact_is_not_written(
    work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    from mptq_export.verify import compare

    def spoiled(path: Path, inputs: Any) -> Any:
        report = verify_model(path, inputs)
        name, difference = next(iter(report.outputs.items()))
        return replace(report, outputs={name: replace(difference, differing=1)})

    monkeypatch.setattr(compare, "verify_model", spoiled)
    refused(work / "m.pt", "--calib", work / "calib", words=("m.mptq.onnx was not written", "please report"))


def test_the_checkpoint_is_never_the_output(work: Path, refused: Callable[..., str]):
    refused(work / "m.pt", "--calib", work / "calib", "-o", work / "m.pt", "--force", words=("m.pt", "the checkpoint"))


def test_two_outputs_of_one_name(work: Path, refused: Callable[..., str]):
    path = work / "x.onnx"
    refused(
        work / "m.pt", "--calib", work / "calib", "-o", path, "--float-onnx", path, words=("x.onnx", "another output")
    )
