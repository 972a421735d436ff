"""The training of the example's detectors: a step on the CPU, and the weights that it leaves."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
pytest.importorskip("transformers", reason="YOLOS is one of its models")

from tools import train_detection
from tools.scenes import coco


def trained(name: str, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, object]:
    """One step on one scene; what is said of it."""
    given = ["tool", name, "--steps", "1", "--batch", "1", "--device", "cpu", "--out", str(out), *options]
    monkeypatch.setattr(sys, "argv", given)
    train_detection.main()
    return json.loads((out / f"{name}.json").read_text())


@pytest.mark.parametrize("name", sorted(train_detection.PLANS))
def test_a_step_and_the_weights_come_back(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = trained(name, tmp_path, monkeypatch, "--images", "0")
    assert (made["name"], made["steps"], made["batch"], made["seed"]) == (name, 1, 1, 0)
    weights = load_file(tmp_path / f"{name}.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in weights.values())

    torch.manual_seed(0)
    start = train_detection.builders()[name]().state_dict()
    moved = {key for key, tensor in weights.items() if not torch.equal(tensor, start[key].half())}
    assert len(moved) > len(weights) / 2

    detectors = sys.modules["detectors"]
    monkeypatch.setattr(detectors, "FOLDER", tmp_path)
    model = getattr(detectors, name)()
    assert not model.training
    for key, tensor in weights.items():
        assert torch.equal(model.state_dict()[key], tensor.float())


def test_the_figures_stand_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pycocotools", reason="computes AP")
    monkeypatch.setattr(coco, "CHUNK", 2)  # of 50 drawn ones 48 would not be looked at
    made = trained("fcos", tmp_path, monkeypatch, "--images", "2")
    assert made["test images"] == 2
    assert 0 <= float(str(made["box AP"])) <= 100


def test_weights_that_are_missing_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train_detection.builders()
    detectors = sys.modules["detectors"]
    monkeypatch.setattr(detectors, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"yolos\.safetensors: make it with `python -m tools\.train_detection"):
        detectors.yolos()


def test_the_learning_rate_rises_and_falls():
    rates = [train_detection.rate_at(step / 1000) for step in range(1001)]
    top = rates.index(max(rates))
    assert top / 1000 == train_detection.WARM_UP
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert math.isclose(rates[-1], 0, abs_tol=1e-12)


def test_a_loss_asks_for_what_there_is():
    """Of a YOLOS that answers with the truth, boxes cost nothing; of any other answer they do."""
    from tools.detectors.yolos_loss import answer_loss, match, wanted_boxes
    from tools.scenes.digits import CLASSES, split_digits
    from tools.scenes.draw import draw

    scenes = draw(2, split_digits("train"), torch.Generator().manual_seed(0))
    there, wanted = scenes.labels >= 0, wanted_boxes(scenes)
    right = torch.zeros(2, 24, CLASSES + 1)
    boxes = torch.full((2, 24, 4), 0.5)
    places = torch.arange(there.shape[1]) + 3
    right[:, :, CLASSES] = 9
    for row, count in enumerate(scenes.counts):
        boxes[row, places[:count]] = wanted[row, :count]
        right[row, places[:count], CLASSES] = 0
        right[row, places[:count], scenes.labels[row, :count]] = 9
    query = match(right, boxes, scenes.labels, wanted, scenes.counts)
    assert torch.equal(query[there], places.expand(2, -1)[there])
    losses = answer_loss(right, boxes, labels=scenes.labels, wanted=wanted, query=query, there=there)
    assert all(value < 0.01 for value in losses.values())
    losses = answer_loss(right, boxes.flip(1), labels=scenes.labels, wanted=wanted, query=query, there=there)
    assert losses["l1"] > 0.1 and losses["iou"] > 0.1
