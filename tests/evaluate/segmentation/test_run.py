"""A segmentation by colour on folders of label maps, through the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from colour_map import CLASSES, SIZE, map_file
from PIL import Image

from mptq_export.cli.eval import main
from tests.made_up_runtime import put_runtime

Values = np.ndarray


def folder(path: Path, maps: list[Values], seen: Callable[[Values], Values] = lambda classes: classes) -> Path:
    """Pictures of the colours of classes, and label maps in `labels`.

    Args:
        path: of the folder.
        maps: classes, or 255; a pixel of 255 shows class 0.
        seen: what the pictures show instead.
    """
    for number, classes in enumerate(maps):
        shown = seen(np.where(classes == 255, 0, classes))
        for name, pixels in (("images", 255 * np.eye(CLASSES, dtype=np.uint8)[shown]), ("labels", classes)):
            (path / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path / name / f"{number}.png")
    return path


def blocks(height: int = SIZE, width: int = SIZE) -> Values:
    """Classes 0, 1 and 2 from left to right, and a row of no class."""
    classes = np.repeat(np.arange(CLASSES)[None], height, 0)[:, np.arange(width) * CLASSES // width]
    classes[-1] = 255
    return classes


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["--task", "segmentation", *map(str, arguments)])


def found(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    told = run(*arguments, "--json", tmp_path / "found.json")
    assert told.exit_code == 0, told.output
    content: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    return content


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return map_file(tmp_path / "m.onnx")


def test_what_is_right_has_a_mean_iou_of_1(tmp_path: Path, file: Path):
    data = folder(tmp_path / "data", [blocks(), blocks().T.copy()])
    said = found(tmp_path, file, "--data", data, "--float", "colour_map:right")
    assert said["iou"]["quantised"] == {"mean_iou": 1, "pixel_accuracy": 1, "class_accuracy": 1}
    assert said["iou"]["floating"] == said["iou"]["quantised"]
    assert (said["iou"]["difference"], said["iou"]["difference_interval"], said["same_class"]) == (0, [0, 0], 1)
    assert said["iou"]["labelled_share"] == pytest.approx(1 - 1 / SIZE)
    assert said["iou"]["quantised_by_class"] == {"0": 1, "1": 1, "2": 1}
    assert said["warnings"] == []


def test_file_and_float_model_side_by_side(tmp_path: Path, file: Path):
    data = folder(tmp_path / "data", [blocks()], lambda shown: np.where(shown == 2, 1, shown))
    told = run(file, "--data", data, "--float", "colour_map:blind", "--json", tmp_path / "found.json")
    said = json.loads((tmp_path / "found.json").read_text())
    # 0 is right; all of 2 is seen as 1, which are 3 columns of 2; the float model gives 0 everywhere
    assert said["iou"]["quantised_by_class"] == pytest.approx({"0": 1, "1": 3 / 5, "2": 0})
    assert said["iou"]["floating_by_class"] == pytest.approx({"0": 3 / 8, "1": 0, "2": 0})
    assert said["iou"]["difference"] == pytest.approx(1.6 / 3 - 1 / 8)
    assert said["same_class"] == pytest.approx((3 * 7 + 8) / 64)
    assert "mean IoU less that of float +40.83 points" in told.output


def test_logits_are_resized_to_the_picture_as_torch_does_it(tmp_path: Path, file: Path):
    """Pictures of 20 x 13 pixels into an input of 8 x 8, and maps of 4 x 4 back: against torch's own resizing."""
    generator = np.random.default_rng(0)
    classes = generator.integers(0, CLASSES, (13, 20))
    data = folder(tmp_path / "data", [classes])
    said = found(tmp_path, map_file(tmp_path / "half.onnx", halved=True), "--data", data)
    with Image.open(data / "images/0.png") as image:
        small = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    pixels = torch.from_numpy(small / np.float32(255)).permute(2, 0, 1)[None]
    logits = torch.nn.functional.avg_pool2d(pixels, 2)
    large = torch.nn.functional.interpolate(logits, (13, 20), mode="bilinear", align_corners=False)
    wanted = float((large[0].argmax(0).numpy() == classes).mean())
    assert 0.2 < wanted < 0.95
    assert said["iou"]["quantised"]["pixel_accuracy"] == pytest.approx(wanted, abs=1e-6)


def test_values_that_the_model_lacks_stop_it_before_it_runs(tmp_path: Path, file: Path):
    data = folder(tmp_path / "data", [blocks()])
    Image.fromarray((blocks() + (blocks() != 255)).astype(np.uint8)).save(data / "labels/0.png")  # 1, 2, 3
    told = run(file, "--data", data)
    assert told.exit_code == 2 and "0.png holds 3" in told.output and "--first-label 1" in told.output
    said = found(tmp_path, file, "--data", data, "--first-label", 1)
    assert said["iou"]["quantised"]["mean_iou"] == 1
    told = run(file, "--data", data, "--ignore", 3)
    assert told.exit_code == 2 and "holds 255" in told.output


def test_label_maps_that_are_missing_or_of_another_size(tmp_path: Path, file: Path):
    data = folder(tmp_path / "data", [blocks(), blocks(), blocks()])
    (data / "labels/1.png").unlink()
    told = run(file, "--data", data)
    assert told.exit_code == 2 and "1 of 3 pictures" in told.output and "1.png" in told.output
    said = found(tmp_path, file, "--data", data, "--allow-skipped")
    assert (said["images"], said["without_label_map"]) == (2, 1)
    Image.fromarray(blocks(9).astype(np.uint8)).save(data / "labels/1.png")
    told = run(file, "--data", data)
    assert told.exit_code == 2 and "it is 8x8, its label map 8x9" in told.output
    said = found(tmp_path, file, "--data", data, "--allow-skipped")
    assert (said["images"], said["skipped"], said["iou"]["quantised"]["mean_iou"]) == (2, 1, 1)


def test_without_label_maps_the_float_model_is_compared_with(tmp_path: Path, file: Path):
    data = folder(tmp_path / "data", [blocks()]) / "images"
    told = run(file, "--data", data)
    assert told.exit_code == 2 and "--annotations" in told.output
    said = found(tmp_path, file, "--data", data, "--float", "colour_map:right")
    assert (said["same_class"], said["iou"]) == (1, None)
    assert "no label maps" in said["warnings"][0]


def test_another_runtime_runs_the_file(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch):
    data = folder(tmp_path / "data", [blocks(), blocks()])
    sessions = put_runtime(monkeypatch, lambda values: values * 0)
    said = found(tmp_path, file, "--data", data, "--runtime", "qnn")
    assert said["iou"]["quantised"]["mean_iou"] == pytest.approx(1 / 8)  # all of class 0, which three of 8 columns are
    assert said["ran_in"]["device"] == "nowhere"
    assert sessions[0].runs == 2


def test_label_maps_without_a_class(tmp_path: Path, file: Path):
    told = run(file, "--data", folder(tmp_path / "data", [np.full((SIZE, SIZE), 255)]))
    assert told.exit_code == 2 and "has a class" in told.output


def test_names_of_classes(tmp_path: Path, file: Path):
    (tmp_path / "names.txt").write_text("road\nsky\ncar\n")
    said = found(tmp_path, file, "--data", folder(tmp_path / "data", [blocks()]), "--class-map", tmp_path / "names.txt")
    assert list(said["iou"]["quantised_by_class"]) == ["road", "sky", "car"]


def test_files_that_give_no_map_of_classes(tmp_path: Path, file: Path):
    data = folder(tmp_path / "data", [blocks()])
    for change, told in (
        ({"mptq.outputs": json.dumps([{"output": "classes", "kind": "values"}])}, "no map of classes, but classes"),
        ({"preprocessing.crop_mode": '"center"'}, "--crop-mode corner"),
    ):
        model = onnx.load(file)
        kept = {entry.key: entry.value for entry in model.metadata_props} | change
        onnx.helper.set_model_props(model, kept)
        onnx.save(model, tmp_path / "changed.onnx")
        answer = run(tmp_path / "changed.onnx", "--data", data)
        assert answer.exit_code == 2 and told in answer.output
