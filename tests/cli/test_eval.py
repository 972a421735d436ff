"""mptq-eval from the command line: which label an image gets, which images count, and what is said about both."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mptq_export.cli.eval import main
from mptq_export.data.preprocessing import Preprocessing

SIZE = 8
COLOURS = ("blue", "green", "red")


def model(path: Path, order: tuple[str, ...] = COLOURS, **metadata: str) -> Path:
    """A classifier of one logit a colour: how much of it is in the image."""
    weight = np.eye(3, dtype=np.float32)[:, [("red", "green", "blue").index(name) for name in order]]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "axes"], ["m"], keepdims=0),
            helper.make_node("MatMul", ["m", "w"], ["y"]),
        ],
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", len(order)])],
        [numpy_helper.from_array(np.array([2, 3]), "axes"), numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    how = Preprocessing((3, SIZE, SIZE), (0.5,) * 3, (0.5,) * 3, crop_pct=1.0)
    onnx.helper.set_model_props(made, {**how.to_metadata(), **metadata})
    onnx.save(made, path)
    return path


def named(names: tuple[str, ...], origin: str = "checkpoint") -> dict[str, str]:
    return {"mptq.class_names": json.dumps(names), "mptq.class_names_from": origin}


def paint(folder: Path, colour: str, count: int = 4) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(str(folder)))
    for number in range(count):
        image = generator.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
        image[..., ("red", "green", "blue").index(colour)] += 150
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def measured(result: Result, path: Path) -> dict[str, Any]:
    assert result.exit_code == 0, (result.output, result.exception)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    assert result.stdout == "" and result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    for word in words:
        assert word in result.stderr


@pytest.fixture
def val(tmp_path: Path) -> Path:
    """A folder a colour."""
    for colour in COLOURS:
        paint(tmp_path / "val" / colour, colour)
    return tmp_path / "val"


def test_folders_in_timms_order_where_no_names_are_known(tmp_path: Path, val: Path):
    result = run(model(tmp_path / "m.onnx"), "--data", val, "--json", tmp_path / "e.json")
    report = measured(result, tmp_path / "e.json")
    assert (report["images"], report["quantised"]["top1"]) == (12, 1.0)
    assert "12 of 12 (95%: 75.8% to 100.0%)" in result.stdout
    assert [(own["name"], own["right"], own["images"]) for own in report["by_class"]] == [(c, 4, 4) for c in COLOURS]
    worst = report["worst"][0]
    assert worst["names"][0] == worst["names"][2] == worst["file"].partition("/")[0]
    shown = Image.open(io.BytesIO(base64.b64decode(worst["picture"].partition("base64,")[2])))
    pixels = np.asarray(shown).astype(int).mean((0, 1))
    assert ("red", "green", "blue")[int(pixels.argmax())] == worst["names"][2]  # the very image
    said = "3 class folders, numbered in timm's order, as no names of the classes are known"
    assert f"labels: {said}\n" in result.stdout and report["labels"] == said and result.stderr == ""
    assert (report["class_folders"], report["skipped"], report["skipped_first"], report["warnings"]) == (3, 0, {}, [])


@pytest.mark.parametrize("folders", [("red",), ("blue", "red"), ("Red", "GREEN")])
def test_a_subset_is_evaluated_by_name(tmp_path: Path, folders: tuple[str, ...]):
    for folder in folders:
        paint(tmp_path / "val" / folder, folder.lower())
    path = model(tmp_path / "m.onnx", ("red", "blue", "green"), **named(("red", "blue", "green")))
    result = run(path, "--data", tmp_path / "val", "--json", tmp_path / "e.json")
    report = measured(result, tmp_path / "e.json")
    assert report["quantised"]["top1"] == 1.0 and report["class_folders"] == len(folders)
    assert result.stderr == "" and "matched by name with the file (from the checkpoint)" in result.stdout


def test_what_cannot_be_known_is_an_error_until_a_class_map_says_it(tmp_path: Path, val: Path):
    plain = model(tmp_path / "m.onnx")
    (val / "red").rename(tmp_path / "red")
    refused(run(plain, "--data", val), "2 class folders, the model 3 logits", "--class-map FILE")
    (tmp_path / "map.json").write_text(json.dumps({"blue": 0, "green": 1}))
    report = measured(
        run(plain, "--data", val, "--class-map", tmp_path / "map.json", "--json", tmp_path / "e.json"),
        tmp_path / "e.json",
    )
    assert report["quantised"]["top1"] == 1.0 and "--class-map" in report["labels"]
    (val / "green").rename(val / "verde")
    strange = model(tmp_path / "n.onnx", **named(COLOURS))
    refused(
        run(strange, "--data", val), "folder verde is none of the classes", "(blue, green, red)", "--class-map FILE"
    )
    (tmp_path / "map.txt").write_text("blue\nverde\nred\n")
    assert run(strange, "--data", val, "--class-map", tmp_path / "map.txt").exit_code == 0
    (tmp_path / "map.txt").write_text("blue\nx\nred\nverde\n")
    refused(
        run(strange, "--data", val, "--class-map", tmp_path / "map.txt"), "goes up to class 3, the model has 3 logits"
    )
    refused(run(strange, "--data", val, "--class-map", tmp_path / "none.txt"), "none.txt", "cannot be read")


def test_folders_that_torchvision_numbers_otherwise(tmp_path: Path):
    for name, colour in (("1", "blue"), ("2", "green"), ("10", "red")):
        paint(tmp_path / "val" / name, colour)
    path = model(tmp_path / "m.onnx")
    result = run(path, "--data", tmp_path / "val", "--json", tmp_path / "e.json")
    report = measured(result, tmp_path / "e.json")
    assert report["quantised"]["top1"] == 1.0
    assert result.stderr.startswith("warning: the class folders are numbered as timm numbers them (2 before 10)")
    assert result.stderr.count("\n") == 1 and len(report["warnings"]) == 1
    old = model(tmp_path / "old.onnx", **named(("1", "10", "2"), "calibration folders"))
    result = run(old, "--data", tmp_path / "val", "--json", tmp_path / "e.json")
    assert measured(result, tmp_path / "e.json")["quantised"]["top1"] == 1.0
    assert "class names are folders in plain order (10 before 2)" in result.stderr


def test_labels_of_another_numbering_are_said(tmp_path: Path):
    for colour in COLOURS:
        paint(tmp_path / "val" / colour, colour, 15)
    other = model(tmp_path / "m.onnx", ("green", "red", "blue"))
    result = run(other, "--data", tmp_path / "val", "--json", tmp_path / "e.json")
    assert measured(result, tmp_path / "e.json")["quantised"]["top1"] == 0.0
    assert "the labels are not numbered as the logits: 0% are right, 100% would be with other numbers" in result.stderr


def test_hidden_folders_and_loops_change_nothing(tmp_path: Path, val: Path):
    path = model(tmp_path / "m.onnx")
    clean = run(path, "--data", val)
    for name in (".ipynb_checkpoints", "__MACOSX"):
        paint(val / name, "red")
    (val / "again").symlink_to(val)
    assert run(path, "--data", val).output == clean.output


def test_images_that_are_left_out_are_counted_or_refused(tmp_path: Path, val: Path):
    path, data = model(tmp_path / "m.onnx"), ("--data", val, "--json", tmp_path / "e.json")
    (val / "red" / "0.png").write_bytes(b"no image")
    report = measured(run(path, *data), tmp_path / "e.json")
    assert report["skipped_first"] == {"red/0.png": "not an image that Pillow reads"}
    assert (report["images"], report["skipped"]) == (11, 1)
    (val / "red" / "1.png").write_bytes((val / "red" / "1.png").read_bytes()[:70])
    refused(run(path, *data), "2 of 12 images of", "more than a tenth", "red/0.png: not an image", "--allow-skipped")
    result = run(path, *data, "--allow-skipped")
    report = measured(result, tmp_path / "e.json")
    assert (report["images"], report["skipped"], report["quantised"]["top1"]) == (10, 2, 1.0)
    assert result.stderr.startswith(f"warning: left out 2 of 12 images of {val} (red/0.png: not an image that Pillow")
    assert report["warnings"] == [result.stderr.removeprefix("warning: ").strip()]


def test_exif_is_the_files_unless_it_is_asked_for(tmp_path: Path, val: Path):
    exif = Image.Exif()
    exif[0x0112] = 3
    for file in val.rglob("*.png"):
        Image.open(file).save(file, exif=exif)
    for path, asked, said in (
        (model(tmp_path / "m.onnx"), (), "12 of 12 images of"),
        (model(tmp_path / "m.onnx"), ("--exif",), "calibrated on images not turned by EXIF, these are turned by EXIF"),
        (model(tmp_path / "n.onnx", **{"mptq.exif": "true"}), (), None),
        (model(tmp_path / "n.onnx", **{"mptq.exif": "true"}), ("--no-exif",), "calibrated on images turned by EXIF"),
    ):
        result = run(path, "--data", val, *asked, "--json", tmp_path / "e.json")
        assert measured(result, tmp_path / "e.json")["exif_orientations"] == 12
        assert result.stderr == "" if said is None else said in result.stderr


def test_sixteen_bits_are_scaled_and_unknown_ranges_refused(tmp_path: Path, val: Path):
    path = model(tmp_path / "m.onnx")
    Image.fromarray(np.full((SIZE, SIZE), 200, np.float32)).save(val / "red" / "float.tif")
    refused(run(path, "--data", val), "float.tif holds floats from 200 to 200, not from 0 to 1")
