"""mptq-export refuses bad images, options and outputs in one line and leaves nothing behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from tiny_models import images

from mptq_export.verify.compare import verify_model

from .helpers import ARCH, KIND, WRITTEN, run

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
    far = (work / "m.pt", "--calib", work / "far.npy")
    refused(*far, words=("far.npy", "a pixel normalised with the model's mean", "--any-range"))
    refused(*far, "--any-range", "--input", "uint8", words=("far.npy", "not 8-bit pixels"))
    assert run(*far, "--any-range").exit_code == 0


def test_a_class_map_that_does_not_fit(work: Path, refused: Callable[..., str]):
    path = work / "classes.txt"
    asked = (work / "m.pt", "--calib", work / "calib", "--class-map", path)
    refused(*asked, words=("classes.txt", "cannot be read"))
    path.write_text("a\nb\n\nc\n")
    refused(*asked, words=("classes.txt", "line 3 is empty"))
    path.write_text("a\nb\nc\n")
    refused(*asked, words=("classes.txt", "the model has 7 logits, class 3 has no name"))
    path.write_text("a\nb\nc\nd\ne\nf\ng\n")
    refused(*asked, "--features", words=("classes.txt", "feature maps have none"))


@pytest.mark.parametrize("option", ["--exif", "--allow-skipped", "--any-range"])
def test_readings_belong_to_calibration_data(work: Path, refused: Callable[..., str], option: str):
    refused(work / "m.pt", option, words=(option, "belongs to --calib"))


# -- the options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", ["9", "9/8", "8/1", "8/8/8", "a/b", "", "8:8", "-4/8", "16/16", "08/8"])
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
        (("--method", "worst"), ("--method", "paper", "best")),
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
    refused(work / "m.pt", "-o", work / "calib", words=("cannot write", "it is a folder"))
    refused(work / "m.pt", "-o", work / "m.pt" / "m.onnx", words=("cannot write",))
    refused(work / "m.pt", "--float-onnx", work / "m.pt" / "a" / "f.onnx", words=("cannot write", "is a file"))
    refused(work / "m.pt", "--json", work / "m.pt" / "r.json", words=("cannot write", "is a file"))


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
    from mptq_export.recipe import store

    def full(_tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "save_file", full)
    refused(work / "m.pt", "--calib", work / "calib", words=("recipe.safetensors", "No space left on device"))


def test_a_file_that_is_not_exact_is_not_written(
    work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    from mptq_export.export import write

    def spoiled(path: Path, inputs: Any, **options: Any) -> Any:
        report = verify_model(path, inputs, **options)
        name, difference = next(iter(report.outputs.items()))
        return replace(report, outputs={name: replace(difference, differing=1)})

    monkeypatch.setattr(write, "verify_model", spoiled)
    refused(work / "m.pt", "--calib", work / "calib", words=("m.mptq.onnx was not written", "please report"))


def test_a_runtime_whose_functions_are_worse_than_assumed_is_refused_by_layer(
    work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    from mptq_export.verify.code_functions import exhaustive as tables

    class Worse(ort.InferenceSession):  # type: ignore[misc]
        def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
            found = zip(names, super().run(names, feed), strict=True)
            return [codes ^ (name == "blocks.0.attn.softmax.codes") for name, codes in found]

    mine = SimpleNamespace(InferenceSession=Worse, SessionOptions=ort.SessionOptions, __version__="9.9")
    monkeypatch.setattr(tables, "ort", mine)
    words = ("blocks.0.attn.softmax.exp: Exp of the installed onnxruntime 9.9", "install another version")
    refused(work / "m.pt", "--calib", work / "calib", words=words)


def test_the_checkpoint_is_never_the_output(work: Path, refused: Callable[..., str]):
    refused(work / "m.pt", "--calib", work / "calib", "-o", work / "m.pt", "--force", words=("m.pt", "the checkpoint"))


def test_two_outputs_of_one_name(work: Path, refused: Callable[..., str]):
    path = work / "x.onnx"
    refused(
        work / "m.pt", "--calib", work / "calib", "-o", path, "--float-onnx", path, words=("x.onnx", "another output")
    )


@pytest.mark.parametrize("name", ["m.pt", "m.mptq.onnx", "m.mptq.recipe.json"])
def test_the_summary_is_never_an_output(work: Path, refused: Callable[..., str], name: str):
    path = work / name
    refused(work / "m.pt", "--calib", work / "calib", "--json", path, words=(name, "choose another file"))
