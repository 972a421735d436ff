"""A detector that is right on folders in COCO's format, through the command and its pieces."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from colour_boxes import HOW, NAMES, Rectangle, colour_folder, detector_file
from PIL import Image
from tiny_detectors import SIZE, mask_rcnn

from mptq_export.cli.eval import main
from mptq_export.data.placement import corner
from mptq_export.detect.opened import open_detector
from mptq_export.evaluate.detection import models
from mptq_export.evaluate.detection.models import float_detect
from mptq_export.evaluate.float_model import load_float
from mptq_export.load.inputs import InputOptions
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.detector import Selection
from tests.detect.described import RCNN
from tests.detect.made_up_files import write_all
from tests.made_up_runtime import put_runtime

pytest.importorskip("pycocotools", reason="pycocotools is optional")

PICTURES: list[list[Rectangle]] = [
    [("red", (2, 3, 8, 9)), ("blue", (12, 4, 10, 15))],
    [("green", (0, 0, 5, 5))],
    [],
    [("red", (1, 1, 12, 12)), ("green", (20, 20, 12, 4))],
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return detector_file(tmp_path / "m.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return colour_folder(tmp_path / "scenes", PICTURES)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["--task", "detection", *map(str, arguments)])


def found(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """What `--json` holds."""
    told = run(*arguments, "--json", tmp_path / "found.json")
    assert told.exit_code == 0, told.output
    content: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    return content


@pytest.mark.parametrize(("scale", "size"), [(1, (32, 32)), (2, (32, 24)), (3, (24, 32)), (2, (9, 32))])
def test_what_is_right_has_an_average_precision_of_1_on_pictures_of_any_size(
    tmp_path: Path, file: Path, scale: int, size: tuple[int, int]
):
    pictures: list[list[Rectangle]] = [[("red", (2, 3, 6, 9)), ("blue", (1, 14, 4, 5))], [("green", (0, 0, 5, 5))], []]
    said = found(tmp_path, file, "--data", colour_folder(tmp_path / "scenes", pictures, scale, size))
    (box,) = said["precision"]
    assert box["quantised"]["ap"] == pytest.approx(1)
    assert box["quantised_by_category"] == pytest.approx(dict.fromkeys(NAMES, 1))
    assert (said["images"], said["objects"], said["empty"], said["categories"]) == (3, 3, 1, 3)
    assert said["warnings"] == []


def test_file_and_float_model_side_by_side(tmp_path: Path, folder: Path):
    wide = detector_file(tmp_path / "m.onnx", wider=2.0)
    told = run(wide, "--data", folder, "--float", "colour_boxes:right", "--json", tmp_path / "found.json")
    assert told.exit_code == 0, told.output
    said = json.loads((tmp_path / "found.json").read_text())
    (box,) = said["precision"]
    assert box["floating"]["ap"] == pytest.approx(1)
    assert box["difference"] == pytest.approx(box["quantised"]["ap"] - 1)
    assert box["quantised"]["ap"] < 0.8
    assert said["found_again"]["of_float"] == {
        "detections": 5,
        "at_50": 1,
        "at_50_interval": [1, 1],
        "at_75": pytest.approx(4 / 5),  # the green box of 5 pixels is 7 wide
    }
    assert "100.00" in told.output
    assert "box AP less that of float -" in told.output


def test_the_same_model_twice_differs_in_nothing(tmp_path: Path, file: Path, folder: Path):
    said = found(tmp_path, file, "--data", folder, "--float", "colour_boxes:right", "--batch", 3)
    assert said["precision"][0]["difference"] == 0


def test_without_annotations_the_float_model_is_compared_with(tmp_path: Path, file: Path, folder: Path):
    (folder / "annotations.json").unlink()
    said = found(tmp_path, file, "--data", folder, "--float", "colour_boxes:wide")
    assert (said["precision"], said["objects"]) == ([], None)
    assert said["found_again"]["of_float"]["at_75"] == pytest.approx(4 / 5)
    assert "no annotations" in said["warnings"][0]


def test_what_was_found_is_kept_and_read(tmp_path: Path, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch):
    kept = tmp_path / "kept.jsonl"
    arguments = (file, "--data", folder, "--resume", kept)
    first = found(tmp_path, *arguments)
    lines = kept.read_text().splitlines()
    assert len(lines) == 5
    kept.write_text("\n".join([*lines[:3], lines[3][:40]]))

    pictures: list[int] = []
    real = models.detect

    def counted(detector: Any, networks: Any, inputs: Any, placements: Any) -> Any:
        pictures.append(len(placements))
        return real(detector, networks, inputs, placements)

    monkeypatch.setattr(models, "detect", counted)
    assert found(tmp_path, *arguments) == first
    assert sum(pictures) == 2  # the two that are lost
    assert found(tmp_path, detector_file(tmp_path / "other.onnx", 2.0), *arguments[1:]) != first
    assert sum(pictures) == 6  # another file's results are not taken
    kept.write_text('{"ran": {"model": "x", "runtime": "y", "device": "z"}}\n')
    assert "holds results of another task" in run(*arguments).output


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / "annotations.json").read_text())
    change(content)
    (folder / "annotations.json").write_text(json.dumps(content))


def test_objects_of_classes_that_the_model_lacks_are_counted_and_told(tmp_path: Path, file: Path, folder: Path):
    changed(folder, lambda said: said["categories"][1].update(name="boat"))
    said = found(tmp_path, file, "--data", folder)
    assert said["counted"]["of_classes_that_the_model_lacks"] == 2
    assert said["categories_that_the_model_lacks"] == ["boat"]
    assert said["precision"][0]["quantised"]["ap"] == pytest.approx(1)
    assert said["precision"][0]["quantised_by_category"].keys() == {"red", "blue"}
    assert any("boat" in told for told in said["warnings"])


def test_a_class_map_in_place_of_names(tmp_path: Path, folder: Path):
    nameless = detector_file(tmp_path / "m.onnx", names=None)
    told = run(nameless, "--data", folder)
    assert told.exit_code == 2 and "--class-map" in told.output
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    said = found(tmp_path, nameless, "--data", folder, "--class-map", tmp_path / "names.txt")
    assert said["precision"][0]["quantised"]["ap"] == pytest.approx(1)


def test_categories_that_are_numbered_otherwise_are_told(tmp_path: Path):
    pictures: list[list[Rectangle]] = [[(NAMES[i % 3], (2, 3, 8, 9))] for i in range(42)]
    folder = colour_folder(tmp_path / "scenes", pictures)
    changed(folder, lambda said: [each.update(id=each["id"] - 10) for each in said["categories"]])
    changed(
        folder, lambda said: [each.update(category_id=(each["category_id"] - 9) % 3) for each in said["annotations"]]
    )
    said = found(tmp_path, detector_file(tmp_path / "m.onnx", names=None), "--data", folder)
    assert said["precision"][0]["quantised"]["ap"] == 0
    assert any("not numbered as the logits" in told for told in said["warnings"])


def test_pictures_that_annotations_say_another_size_of_are_left_out(tmp_path: Path, file: Path, folder: Path):
    changed(folder, lambda said: said["images"][1].update(width=99))
    told = run(file, "--data", folder)
    assert told.exit_code == 2 and "64x48, its annotations are for 99x48" in told.output
    said = found(tmp_path, file, "--data", folder, "--allow-skipped")
    assert (said["skipped"], said["images"], said["objects"]) == (1, 3, 4)
    assert said["precision"][0]["quantised"]["ap"] == pytest.approx(1)


def test_pictures_that_are_not_there(tmp_path: Path, file: Path, folder: Path):
    (folder / "3.png").unlink()
    told = run(file, "--data", folder)
    assert told.exit_code == 2 and "1 of 4 pictures" in told.output
    said = found(tmp_path, file, "--data", folder, "--allow-skipped")
    assert (said["counted"]["missing"], said["images"], said["objects"]) == (1, 3, 3)


def test_a_limit_takes_pictures_with_their_objects(tmp_path: Path, file: Path, folder: Path):
    said = found(tmp_path, file, "--data", folder, "--limit", 2)
    assert (said["images"], said["objects"]) == (2, 2)


def test_folders_that_nothing_can_be_said_of(tmp_path: Path, file: Path, folder: Path):
    changed(folder, lambda said: said.update(annotations=[]))
    told = run(file, "--data", folder)
    assert told.exit_code == 2 and "no picture of" in told.output and "--float" in told.output
    (folder / "annotations.json").unlink()
    told = run(file, "--data", folder)
    assert told.exit_code == 2 and "--annotations FILE" in told.output


@pytest.mark.parametrize(
    ("how", "told"),
    [({"crop_mode": "center"}, "--crop-mode corner"), ({"crop_mode": "squash", "crop_pct": 0.9}, "--crop-mode corner")],
)
def test_a_file_that_does_not_see_whole_pictures(tmp_path: Path, folder: Path, how: dict[str, Any], told: str):
    answer = run(detector_file(tmp_path / "m.onnx", how=replace(HOW, **how)), "--data", folder)
    assert answer.exit_code == 2 and told in answer.output


def test_squashed_pictures(tmp_path: Path):
    squashed = detector_file(tmp_path / "m.onnx", how=replace(HOW, crop_mode="squash"))
    pictures: list[list[Rectangle]] = [[("red", (4, 4, 8, 8))], [("green", (0, 0, 4, 8)), ("blue", (8, 8, 8, 8))]]
    said = found(tmp_path, squashed, "--data", colour_folder(tmp_path / "scenes", pictures, 1, (64, 16)))
    assert said["precision"][0]["quantised"]["ap"] == pytest.approx(1)


def test_options_without_their_task(tmp_path: Path, file: Path):
    for arguments, told in (
        (["--annotations", "x"], "--annotations goes with --task"),
        (["--ignore", "3"], "go with --task segmentation"),
        (["--resume", "x"], "--resume goes with"),
    ):
        answer = CliRunner().invoke(main, [str(file), "--data", str(tmp_path), *arguments])
        assert answer.exit_code == 2 and told in answer.output
    answer = run(file, "--data", tmp_path, "--first-label", 1)
    assert answer.exit_code == 2 and "go with --task segmentation" in answer.output


def test_a_float_model_of_two_stages_by_the_glue_is_the_library(tmp_path: Path):
    loaded = load_float(ModelRequest("tiny_detectors:mask_rcnn", inputs=InputOptions(img_size=(SIZE, SIZE))))
    assert loaded.detector is not None
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    detections = float_detect(loaded, loaded.detector, masks=True)(pixels, [corner((SIZE, SIZE), (SIZE, SIZE))])

    with torch.inference_mode():
        wanted = mask_rcnn()([torch.from_numpy(pixels[0].transpose(2, 0, 1) / np.float32(255))])[0]
    assert len(detections[0]) == len(wanted["scores"]) > 3
    assert np.allclose(detections[0].boxes, wanted["boxes"].numpy(), atol=1e-3)
    assert np.array_equal(detections[0].labels, wanted["labels"].numpy())
    assert detections[0].small_masks is not None
    other = replace(loaded.detector, selection=Selection(0.5, 1, 0.5, 1), classes=4)
    with pytest.raises(Exception, match="another detector"):
        float_detect(loaded, other, masks=True)


def test_another_runtime_runs_the_file_picture_by_picture(
    tmp_path: Path, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    here = found(tmp_path, file, "--data", folder)
    sessions, kept = put_runtime(monkeypatch), tmp_path / "kept.jsonl"
    there = found(tmp_path, file, "--data", folder, "--runtime", "qnn", "--resume", kept)
    assert there.pop("ran_in")["device"] == "nowhere"
    assert there == here
    assert [(session.runs, session.closed) for session in sessions] == [(4, True)]
    assert (
        found(tmp_path, file, "--data", folder, "--runtime", "qnn", "--resume", kept)["precision"] == here["precision"]
    )
    assert sessions[-1].runs == 0
    blind = put_runtime(monkeypatch, lambda values: values * 0)
    nothing = found(tmp_path, file, "--data", folder, "--runtime", "qnn")
    assert nothing["precision"][0]["quantised"]["ap"] == 0
    assert len(blind) == 1
    told = run(write_all(tmp_path / "two.onnx", RCNN), "--data", folder, "--runtime", "qnn")
    assert told.exit_code == 2 and "the first of several files" in told.output


def own_results(path: Path, file: Path, masked: slice) -> Path:
    """Two pictures whose objects are what a detector of two stages finds there; some of them have a mask."""
    path.mkdir()
    opened, images, objects = open_detector(file), [], []
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (70, 150, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 150, "height": 70})
        detections = opened.detect(pixels)
        for place, (x1, y1, x2, y2) in enumerate(detections.boxes.tolist()):
            entry = {"image_id": number, "category_id": int(detections.labels[place]), "id": len(objects) + 1}
            objects.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": detections.rle(place)})
    for entry in objects[masked]:
        del entry["segmentation"]
    categories = [{"id": number, "name": name} for number, name in enumerate(RCNN.names or (), 1)]
    said = {"images": images, "annotations": objects, "categories": categories}
    (path / "annotations.json").write_text(json.dumps(said))
    return path


def test_two_stages_with_masks(tmp_path: Path):
    file = write_all(tmp_path / "m.onnx", RCNN)
    said = found(tmp_path, file, "--data", own_results(tmp_path / "scenes", file, slice(0)), "--batch", 2)
    box, mask = said["precision"]
    assert (box["kind"], mask["kind"]) == ("box", "mask")
    assert box["quantised"]["ap"] == pytest.approx(1)
    assert mask["quantised"]["ap"] > 0.95  # some masks have no pixel
    assert said["objects"] > 10
    assert [Path(each).name for each in said["files"]] == ["m.onnx", "m.box.onnx", "m.mask.onnx"]
    assert said["warnings"] == []


def test_masks_that_some_objects_lack(tmp_path: Path):
    file = write_all(tmp_path / "m.onnx", RCNN)
    said = found(tmp_path, file, "--data", own_results(tmp_path / "scenes", file, slice(1)))
    assert [each["kind"] for each in said["precision"]] == ["box"]
    assert any("some objects have no mask" in told for told in said["warnings"])


def test_a_head_that_is_not_there(tmp_path: Path, folder: Path):
    file = write_all(tmp_path / "m.onnx", RCNN)
    told = run(tmp_path / "m.box.onnx", "--data", folder)
    assert told.exit_code == 2 and "name the first of its files" in told.output
    (tmp_path / "m.mask.onnx").unlink()
    told = run(file, "--data", folder)
    assert told.exit_code == 2 and "m.mask.onnx is not there" in told.output


def test_pictures_that_cannot_be_decoded(tmp_path: Path, file: Path, folder: Path):
    (folder / "2.png").write_bytes(b"no picture")
    said = found(tmp_path, file, "--data", folder, "--allow-skipped")
    assert (said["skipped"], said["images"]) == (1, 3)
    Image.new("RGB", (64, 48)).save(folder / "2.png")
    assert found(tmp_path, file, "--data", folder)["skipped"] == 0
