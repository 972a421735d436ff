"""A detector's files as one thing: pictures in, detections out, and what is refused."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mptq_export import open_detector
from mptq_export.data.placement import Placement
from mptq_export.detect.detections import Detections
from mptq_export.detect.glue import Networks, detect
from mptq_export.recipe.detector import DETECTOR_KEY, FIRST_KEY, Detector, Selection
from mptq_export.support.errors import MptqError
from tests.detect.described import FCOS, IMAGE, RCNN, RETINANET, SET
from tests.detect.made_up_files import constants, preprocessing, write_all, write_part

PICTURES = [Image.effect_noise(size, 40).convert("RGB") for size in ((300, 100), (40, 90), (128, 96))]


def written(folder: Path, detector: Detector, **options) -> Path:
    write = write_all if detector.family == "rcnn" else write_part
    return write(folder / "model.onnx", detector, **options)


def made_up(detector: Detector):
    """What a made-up file of a part computes, in NumPy."""
    given = constants(detector)

    def run(inputs: np.ndarray) -> dict[str, np.ndarray]:
        factor = 1 + inputs.mean(axis=(1, 2, 3), dtype=np.float32)
        return {name: value * factor.reshape(-1, *[1] * (value.ndim - 1)) for name, value in given.items()}

    return run


def same(ours: Detections, other: Detections) -> bool:
    close = np.allclose(ours.boxes, other.boxes, atol=1e-3) and np.allclose(ours.scores, other.scores, atol=1e-5)
    return close and ours.size == other.size and np.array_equal(ours.labels, other.labels) and ours.names == other.names


@pytest.mark.parametrize("batch", ["batch", 2])
@pytest.mark.parametrize("detector", [FCOS, RETINANET, SET, RCNN], ids=lambda each: each.family)
def test_pictures_of_any_size_one_by_one_and_in_batches(tmp_path: Path, detector: Detector, batch: int | str):
    opened = open_detector(written(tmp_path, detector, batch=batch))
    parts = (detector.part, "box", "mask") if detector.family == "rcnn" else (detector.part,)
    networks = Networks(*(made_up(replace(detector, part=part)) for part in parts))
    given = preprocessing(detector)
    one_by_one = [opened.detect(picture) for picture in PICTURES]
    for size in (1, 2, 3, 5):
        assert all(map(same, opened.detect_all(iter(PICTURES), batch=size), one_by_one))
    for picture, found in zip(PICTURES, one_by_one, strict=True):
        placement = given.placement(picture.size[::-1])
        inputs = given.normalize(given.transform_uint8(picture)[None])
        (expected,) = detect(detector, networks, inputs, [placement])
        assert len(found) > 0
        assert found.size == picture.size[::-1]
        assert same(found, expected)
        if detector.family != "set":
            width, height = picture.size
            assert (found.boxes >= 0).all() and (found.boxes <= np.array([width, height] * 2) + 1e-3).all()
        assert (found.small_masks is not None) == (detector.family == "rcnn")


def test_files_images_and_arrays_are_the_same_picture(tmp_path: Path):
    opened = open_detector(written(tmp_path, FCOS))
    PICTURES[0].save(tmp_path / "picture.png")
    for other in (tmp_path / "picture.png", str(tmp_path / "picture.png"), np.asarray(PICTURES[0])):
        assert same(opened.detect(other), opened.detect(PICTURES[0]))


def test_a_file_that_takes_pixels(tmp_path: Path):
    opened = open_detector(write_part(tmp_path / "model.onnx", FCOS, pixels=True))
    found = opened.detect(PICTURES[0])
    pixels = opened.preprocessing.transform_uint8(PICTURES[0])[None]
    placement = opened.preprocessing.placement((100, 300))
    (expected,) = detect(FCOS, Networks(made_up(FCOS)), pixels / np.float32(255), [placement])
    assert same(found, expected)
    with pytest.raises(MptqError, match=r"takes inputs of \[96, 128, 3\] uint8"):
        opened.detect_inputs(pixels.transpose(0, 3, 1, 2), [placement])


def test_masks_are_those_of_the_picture(tmp_path: Path):
    mask_utils = pytest.importorskip("pycocotools.mask", reason="pycocotools is an extra")
    opened = open_detector(written(tmp_path, RCNN))
    found = opened.detect(PICTURES[0])
    masks = list(found.masks())
    assert {mask.shape for mask in masks} == {(100, 300)}
    assert any(mask.any() for mask in masks)
    for number, mask in enumerate(masks):
        rle = mask_utils.frPyObjects(found.rle(number), *found.size)
        assert np.array_equal(mask_utils.decode(rle), mask)
    without = opened.detect(PICTURES[0], masks=False)
    assert without.small_masks is None
    assert same(without, found)
    with pytest.raises(ValueError, match="no mask head"):
        without.mask(0)


def test_runs_of_a_mask():
    def runs(small: float, box: tuple[float, ...]) -> list[int]:
        maps = np.full((1, 28, 28), small, np.float32)
        one = np.ones(1, np.float32)
        found = Detections((4, 3), np.array([box], np.float32), one, one.astype(np.int64), None, maps)
        assert sum(found.rle(0)["counts"]) == 12
        return found.rle(0)["counts"]

    assert runs(0, (0, 0, 3, 4)) == [12]
    assert runs(1, (-20, -20, 60, 80)) == [0, 12]  # it begins with how many are outside
    assert runs(1, (0, 0, 2, 1)) == [0, 2, 2, 2, 2, 2, 2]  # torchvision rounds the last pixel up


def test_names_go_with_labels(tmp_path: Path):
    found = open_detector(written(tmp_path, RCNN)).detect(PICTURES[0])
    assert RCNN.names is not None
    assert found.names == tuple(RCNN.names[label - 1] for label in found.labels)
    named = replace(FCOS, names=("w", "x", "y", "z"))
    found = open_detector(write_part(tmp_path / "one.onnx", named)).detect(PICTURES[0])
    assert found.names == tuple("wxyz"[label] for label in found.labels)


@pytest.mark.parametrize("detector", [FCOS, RETINANET, SET, RCNN], ids=lambda each: each.family)
def test_nothing_is_found(tmp_path: Path, detector: Detector):
    never = Selection(1.0, 100, 0.5, 10)
    changed = replace(detector, selection=never)
    if detector.regions is not None:
        later = replace(detector, regions=replace(detector.regions, selection=never))  # proposals, and no result
        found = open_detector(written(tmp_path, later)).detect(PICTURES[0])
        assert len(found) == 0 and found.small_masks is not None
    found = open_detector(written(tmp_path, changed)).detect(PICTURES[0])
    assert (len(found), found.boxes.shape, found.labels.dtype) == (0, (0, 4), np.int64)
    assert list(found.masks()) == []


def refused(words: str, path: Path) -> None:
    with pytest.raises(MptqError) as error:
        open_detector(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_missing(tmp_path: Path):
    refused("there is no file", tmp_path / "model.onnx")
    path = written(tmp_path, RCNN)
    refused("holds the box head of a detector alone", tmp_path / "model.box.onnx")
    (tmp_path / "model.mask.onnx").unlink()
    refused("model.mask.onnx is not there", path)
    (tmp_path / "model.box.onnx").unlink()
    refused("is one of 3 files of a detector", path)
    (tmp_path / "text.onnx").write_text("no ONNX")
    refused("onnxruntime cannot load", tmp_path / "text.onnx")


def test_files_of_different_detectors(tmp_path: Path):
    path = written(tmp_path, RCNN)
    head = replace(RCNN, part="box")
    other = {
        "one is of made up, the other of a_swin": (head, {"mptq.arch": "a_swin"}),
        "their names differ": (replace(head, names=("a", "b", "c", "e")), {}),
        "their classes differ": (replace(head, classes=3, names=None), {}),
        "exported for another first file": (head, {FIRST_KEY: "another"}),
        "holds no box head but mask": (replace(RCNN, part="mask"), {}),
    }
    for words, (detector, metadata) in other.items():
        write_part(tmp_path / "model.box.onnx", detector, metadata)
        refused(words, path)
    write_part(tmp_path / "model.box.onnx", head, {FIRST_KEY: path.name})
    open_detector(path)


def test_files_that_are_not_what_they_say(tmp_path: Path):
    path = tmp_path / "model.onnx"
    refused("is no detector", write_part(path, FCOS, {DETECTOR_KEY: ""}))
    refused("damaged", write_part(path, FCOS, {DETECTOR_KEY: "{}"}))
    refused("does not say how images become", write_part(path, FCOS, {"preprocessing.mean": ""}))
    refused("does not show whole pictures", write_part(path, FCOS, {"preprocessing.crop_mode": '"center"'}))
    refused("prepares pictures of (96, 96) pixels", write_part(path, FCOS, {"preprocessing.input_size": "[3, 96, 96]"}))
    from mptq_export.recipe.detector import detector_text

    for changed, words in (
        (replace(FCOS, image=(96, 96)), "has shape ['batch', 3, 96, 128], and its description"),
        (replace(FCOS, family="retinanet", classes=7), "output scores.3"),
        (SET, "gives no logits"),
    ):
        refused(words, write_part(path, FCOS, {DETECTOR_KEY: detector_text(changed)}))


def test_pictures_and_inputs_that_do_not_fit(tmp_path: Path):
    opened = open_detector(written(tmp_path, FCOS))
    (tmp_path / "text.png").write_text("no picture")
    for picture, words in (
        (tmp_path / "text.png", "cannot be read"),
        (tmp_path / "gone.png", "cannot be read"),
        (np.zeros((3, 96, 128), np.uint8), "a picture is (height, width, 3) of uint8"),
        (np.zeros((96, 128, 3), np.float32), "a picture is (height, width, 3) of uint8"),
    ):
        with pytest.raises(MptqError) as error:
            opened.detect(picture)
        assert words in str(error.value)
    placement = Placement(IMAGE, IMAGE, IMAGE)
    for inputs in (np.zeros((1, 3, 128, 96), np.float32), np.zeros((1, 3, *IMAGE), np.float64)):
        with pytest.raises(MptqError, match=r"takes inputs of \[3, 96, 128\] float32"):
            opened.detect_inputs(inputs, [placement])
    assert opened.detect_inputs(np.zeros((0, 3, *IMAGE), np.float32), []) == []


def test_it_runs_without_torch(tmp_path: Path):
    path = written(tmp_path, RCNN)
    PICTURES[0].save(tmp_path / "picture.png")
    code = (
        "import sys; from mptq_export import open_detector; found = open_detector(sys.argv[1]).detect(sys.argv[2]); "
        "assert len(found) and found.mask(0).shape == (100, 300); assert not {'torch', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "picture.png"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
