"""One graph of networks and glue, beside the same files and the glue in NumPy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mptq_export import open_detector
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.detect.opened import OpenedDetector
from mptq_export.emit.detector.join import join
from mptq_export.recipe.detector import Detector, Selection
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from tests.detect.described import FCOS, IMAGE, RCNN, RETINANET, SET
from tests.detect.made_up_files import preprocessing, write_all, write_part

PICTURES = ((300, 100), (41, 90), IMAGE)


def written(folder: Path, detector: Detector, given: Preprocessing | None = None) -> OpenedDetector:
    if detector.family == "rcnn":
        return open_detector(write_all(folder / "model.onnx", detector))
    metadata = given.to_metadata() if given is not None else {}
    return open_detector(write_part(folder / "model.onnx", detector, metadata))


def both(opened: OpenedDetector, folder: Path, picture: tuple[int, int], seed: int = 0):
    """What the files and NumPy find, and what one graph does."""
    models = {part: onnx.load(file.path) for part, file in opened.files.items()}
    joined = join(opened.detector, models, keeps_sides=opened.preprocessing.crop_mode == "corner")
    onnx.save(joined.model, folder / "one.onnx")
    session = open_session(folder / "one.onnx")
    inputs = np.random.default_rng(seed).normal(size=(1, 3, *IMAGE)).astype(np.float32)
    (found,) = opened.detect_inputs(inputs, [opened.preprocessing.placement(picture)])
    feed = {"x": inputs, "size": np.array(picture, np.int64)}
    return found, run_session(session, [entry.name for entry in session.get_outputs()], feed)


def assert_same(found, one: dict[str, np.ndarray]) -> None:
    assert np.array_equal(found.labels, one["labels"])
    np.testing.assert_allclose(one["scores"], found.scores, rtol=0, atol=2e-6)
    np.testing.assert_allclose(one["boxes"], found.boxes, rtol=1e-6, atol=2e-4)
    assert one["boxes"].dtype == one["scores"].dtype == np.float32
    if found.small_masks is not None:
        masks = np.array(list(found.masks()), bool).reshape(len(found), *found.size)
        assert one["masks"].shape == masks.shape
        assert (one["masks"] != masks).mean() < 1e-4 if len(found) else True


CASES = {
    "fcos": FCOS,
    "fcos, many": replace(FCOS, selection=Selection(0.01, 2000, 0.6, 2000)),
    "retinanet": RETINANET,
    "set": SET,
    "set, all": replace(SET, selection=Selection(0.0, 1, 1.0, 100)),
    "rcnn": RCNN,
    "rcnn, few": replace(RCNN, selection=Selection(0.5, 20, 0.5, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_graph_finds_what_the_files_find(tmp_path: Path, name: str):
    opened = written(tmp_path, CASES[name])
    for seed, picture in enumerate(PICTURES):
        found, one = both(opened, tmp_path, picture, seed)
        assert len(found) > 0
        assert_same(found, one)


def test_a_picture_that_was_squashed(tmp_path: Path):
    found, one = both(written(tmp_path, FCOS, preprocessing(FCOS, "squash")), tmp_path, (300, 100))
    assert found.boxes.max() > 101
    assert_same(found, one)


@pytest.mark.parametrize("detector", [FCOS, RETINANET, SET, RCNN], ids=lambda each: each.family)
def test_nothing_is_found(tmp_path: Path, detector: Detector):
    never = Selection(1.0, 100, 0.5, 10)
    changed = [replace(detector, selection=never)]
    if detector.regions is not None:
        changed = [
            replace(detector, smallest=1000.0),  # no proposal
            replace(detector, regions=replace(detector.regions, selection=never)),  # proposals, and no result
        ]
    for each in changed:
        found, one = both(written(tmp_path, each), tmp_path, (300, 100))
        assert len(found) == 0
        assert one["boxes"].shape == (0, 4)
        assert_same(found, one)


def test_equal_scores_are_taken_in_the_same_order(tmp_path: Path):
    """The outputs of a quantized network have few values."""
    for detector in (FCOS, RETINANET, RCNN):
        opened = written(tmp_path, replace(detector, selection=replace(detector.selection, candidates=40)))
        for file in opened.files.values():
            model = onnx.load(file.path)
            for number, tensor in enumerate(model.graph.initializer):
                if tensor.name.startswith("c"):
                    coarse = np.round(onnx.numpy_helper.to_array(tensor) * 2) / np.float32(2)
                    model.graph.initializer[number].CopyFrom(onnx.numpy_helper.from_array(coarse, tensor.name))
            onnx.save(model, file.path)
        found, one = both(open_detector(opened.path), tmp_path, IMAGE)
        equal = len(found.scores) - len(np.unique(found.scores))
        assert equal > 0 or detector.family == "rcnn"  # whose proposals have equal scores
        np.testing.assert_allclose(one["scores"], found.scores, rtol=0, atol=2e-6)
        np.testing.assert_allclose(one["boxes"], found.boxes, rtol=1e-6, atol=2e-4)


def test_files_of_different_opsets_are_refused(tmp_path: Path):
    opened = written(tmp_path, RCNN)
    models = {part: onnx.load(file.path) for part, file in opened.files.items()}
    models["box"].opset_import[0].version = 18
    with pytest.raises(MptqError, match="opset 17 and 18, and one file needs one"):
        join(RCNN, models, keeps_sides=True)
    for model in models.values():
        model.opset_import[0].version = 13
    with pytest.raises(MptqError, match="16 or later"):
        join(RCNN, models, keeps_sides=True)
