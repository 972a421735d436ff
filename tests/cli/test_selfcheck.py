"""What an export checks its file on, and that it finds what one random input does not."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from remembered import Memory
from tiny_models import CLASSES, images

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.export import write
from mptq_export.export.check_counts import FEWEST, check_counts
from mptq_export.export.selfcheck import selfcheck_inputs
from mptq_export.verify import compare

from .helpers import KIND, run

Damage = Callable[[onnx.GraphProto], None]
Seen = Callable[[np.ndarray], bool]


def appended(graph: onnx.GraphProto, *nodes: onnx.NodeProto) -> None:
    """Put nodes between what was the output, now `inner`, and the output."""
    for node in graph.node:
        node.output[:] = ["inner" if name == "logits" else name for name in node.output]
    graph.node.extend(nodes)


def frozen(graph: onnx.GraphProto) -> None:
    """The logits of one image in their order, of several in another."""
    graph.initializer.append(numpy_helper.from_array(np.array([-1, CLASSES], np.int64), "frozen.shape"))
    turn = helper.make_node("Transpose", ["inner"], ["turned"], "turn", perm=[1, 0])
    appended(graph, turn, helper.make_node("Reshape", ["turned", "frozen.shape"], ["logits"], "frozen"))


def mixing(graph: onnx.GraphProto) -> None:
    """The largest logit of all images, subtracted."""
    largest = helper.make_node("ReduceMax", ["inner"], ["largest"], "largest")
    appended(graph, largest, helper.make_node("Sub", ["inner", "largest"], ["logits"], "mixing"))


@pytest.mark.parametrize("damage", [frozen, mixing])
def test_results_that_depend_on_the_batch_are_not_written(
    work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, damage: Damage
):
    """The file is damaged before its hashes are taken, and onnxruntime and kernels_ref agree on it."""
    original = write.tie

    def tie(model: onnx.ModelProto, recipe: Any) -> None:
        damage(model.graph)
        original(model, recipe)

    monkeypatch.setattr(write, "tie", tie)
    words = ("m.mptq.onnx was not written", "differ in 0 values, ", "depend on what else is in the batch")
    refused(work / "m.pt", "--calib", work / "calib", words=words)


def test_a_file_that_runs_one_image_alone_is_not_written(
    work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    original = write.tie

    def tie(model: onnx.ModelProto, recipe: Any) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, CLASSES], np.int64), "one.shape"))
        appended(model.graph, helper.make_node("Reshape", ["inner", "one.shape"], ["logits"], "one"))
        original(model, recipe)

    monkeypatch.setattr(write, "tie", tie)
    words = ("m.mptq.onnx was not written: kernels_ref cannot run it with 3 inputs at once", "please report the model")
    line = refused(work / "m.pt", "--calib", work / "calib", words=words)
    assert str(work) not in line  # its name was a temporary one


def picture(batch: np.ndarray) -> bool:
    """Of many values, as even images have not, and none as far out as in noise."""
    return any(np.abs(row).max() < 3 and len(np.unique(row)) > 9 for row in batch)


def even(batch: np.ndarray) -> bool:
    return any(len(np.unique(row)) <= len(row) and np.isfinite(row).all() for row in batch)


def infinite(batch: np.ndarray) -> bool:
    return bool(np.isinf(batch).any())


def three(batch: np.ndarray) -> bool:
    return len(batch) == 3


@pytest.mark.parametrize("seen", [picture, even, infinite, three])
def test_a_difference_on_one_kind_of_input_is_found(
    work: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, seen: Seen
):
    class Off(compare.Interpreter):
        def run(self, feeds: Any, *, trace: bool | Collection[str] = False) -> Any:
            found = super().run(feeds, trace=trace)
            (batch,) = feeds.values()
            if seen(batch):
                found["logits"] = np.nextafter(found["logits"], np.float32(np.inf))
            return found

    monkeypatch.setattr(compare, "Interpreter", Off)
    words = ("m.mptq.onnx was not written", "(first in logits)")
    refused(work / "m.pt", "--calib", work / "calib", words=words)


def test_what_was_checked_is_said(work: Path, memory: Memory):
    memory.forget(checks=True)  # a check that is remembered takes no time
    result = run(work / "m.pt", "--calib", work / "calib", "--json", work / "s.json")
    assert result.exit_code == 0, result.output
    kinds = "6 images, 4 random, 9 constant and 14 extreme inputs at batches 1 and 3"
    assert f"values differ between onnxruntime and kernels_ref ({kinds}, " in result.stdout
    summary = json.loads((work / "s.json").read_text())
    assert summary["checked_inputs"] == {"images": 6, "random": 4, "constant": 9, "extreme": 14}
    assert summary["checked_batches"] == [1, 3] and summary["check_seconds"] > 0
    again = run(work / "m.pt", "--recipe", work / "m.mptq.recipe.json", "--input", "uint8", "-o", work / "p.onnx")
    assert "16 images, 4 random, 9 constant and 6 extreme inputs at batches 1 and 3" in again.stdout


def test_the_number_of_inputs_follows_from_the_work():
    whole = {"images": 16, "random": 4, "constant": 9, "extreme": 14}
    assert check_counts(int(1e6), 0, "paper") == whole
    assert check_counts(int(1e9), 128, "paper") == check_counts(int(1e9), 32, "best") == whole
    smallest = check_counts(int(1e12), 0, "best")
    assert min(smallest.values()) >= 1 and FEWEST <= sum(smallest.values()) <= FEWEST + 2
    some = check_counts(int(1.2e9), 8, "paper")
    assert sum(smallest.values()) < sum(some.values()) < sum(whole.values())


def test_pictures_are_spread_over_the_calibration_images():
    size = (3, 32, 32)
    preprocessing = Preprocessing(size, (0.5,) * 3, (0.25,) * 3)
    graph = helper.make_graph([], "g", [helper.make_tensor_value_info("input", 1, ["batch", *size])], [])
    calibrated = torch.cat([images(KIND, 20), images(KIND, 20, 1)])
    found = np.concatenate(list(selfcheck_inputs(helper.make_model(graph), 1, calibrated, "best", preprocessing)))
    at = [i for i, image in enumerate(calibrated.numpy()) if any(np.array_equal(image, row) for row in found)]
    assert len(at) == 16 and at[0] == 0 and at[-1] >= 36 and set(np.diff(at)) == {2, 3}
