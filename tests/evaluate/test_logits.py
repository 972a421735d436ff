"""Running files over pixels: a classifier whose logits are the mean colours of the image."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mptq_export.evaluate.float_model import float_predictor
from mptq_export.evaluate.logits import Predict, evaluate, judge_logits, onnx_predictor
from mptq_export.evaluate.metrics import Logits
from mptq_export.runtime.pixels import Pixels
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError

SIZE = 4


def normalize(pixels: Pixels) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


def classifier(path: Path, input_type: int, *, flat: bool = True) -> Path:
    """Mean over the pixels: (batch, 3) logits from uint8 NHWC or float32 NCHW."""
    raw = input_type != TensorProto.FLOAT
    shape = ["batch", SIZE, SIZE, 3] if raw else ["batch", 3, SIZE, SIZE]
    nodes = [
        helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["logits"], keepdims=0 if flat else 1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", input_type, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1, 2] if raw else [2, 3]), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def predictor(path: Path) -> Predict:
    return onnx_predictor(open_session(path), normalize)


@pytest.fixture
def images() -> tuple[Pixels, np.ndarray]:
    """Twelve noisy images, each with one dominant colour, which is its label."""
    labels = np.arange(12) % 3
    pixels = np.random.default_rng(0).integers(0, 60, (12, SIZE, SIZE, 3), dtype=np.uint8)
    pixels[np.arange(12), ..., labels] += 150
    return pixels, labels


@pytest.mark.parametrize("input_type", [TensorProto.UINT8, TensorProto.FLOAT])
def test_the_graphs_input_type_decides(tmp_path: Path, images: tuple[Pixels, np.ndarray], input_type: int):
    pixels, labels = images
    report = evaluate([pixels[:5], pixels[5:]], labels, predictor(classifier(tmp_path / "m.onnx", input_type)))
    assert (report.images, report.classes, report.quantised.top1) == (12, 3, 1.0)
    assert report.quantised.top5 is None  # three classes
    assert report.floating is None and report.agreement is None and report.mean_kl is None


def test_beside_a_float_model(tmp_path: Path, images: tuple[Pixels, np.ndarray]):
    class Colours(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gain * x.mean((2, 3))

    pixels, labels = images
    ours = predictor(classifier(tmp_path / "m.onnx", TensorProto.FLOAT))
    report = evaluate([pixels], labels, ours, float_predictor(Colours(), normalize))
    assert report.floating is not None and report.floating.top1 == report.agreement == 1.0
    assert report.mean_kl == pytest.approx(0, abs=1e-9)
    assert report.to_json()["quantised"] == {"top1": 1.0, "top5": None}


def fixed(logits: Logits) -> Predict:
    return lambda pixels: logits[: len(pixels)]


def test_without_labels_only_the_float_model_is_compared(images: tuple[Pixels, np.ndarray]):
    pixels, _ = images
    logits = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)
    report = evaluate([pixels], None, fixed(logits), fixed(-logits))
    assert report.quantised.top1 is None and report.agreement == 0.0 and report.mean_kl is not None


def test_top5_with_five_classes_or_more(images: tuple[Pixels, np.ndarray]):
    pixels, labels = images
    logits = np.tile(np.arange(6, dtype=np.float32), (12, 1))  # class 0 is last
    assert evaluate([pixels], labels, fixed(logits)).quantised.top5 == pytest.approx(8 / 12)


def test_errors_are_one_line(tmp_path: Path, images: tuple[Pixels, np.ndarray]):
    pixels, labels = images
    logits = np.zeros((12, 3), np.float32)
    with pytest.raises(MptqError, match="no images"):
        evaluate([], None, fixed(logits))
    with pytest.raises(MptqError, match="at least 4 classes, the model 3 logits"):
        evaluate([pixels], labels + 1, fixed(logits))
    with pytest.raises(MptqError, match="float model has 2 logits, the ONNX file 3"):
        evaluate([pixels], labels, fixed(logits), fixed(logits[:, :2]))
    with pytest.raises(MptqError, match="preprocessing gives"):
        predictor(classifier(tmp_path / "m.onnx", TensorProto.UINT8))(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(MptqError, match="need a float32 or uint8 input"):
        predictor(classifier(tmp_path / "i.onnx", TensorProto.INT32))(pixels)
    with pytest.raises(MptqError, match="not one row of logits"):
        predictor(classifier(tmp_path / "f.onnx", TensorProto.FLOAT, flat=False))(pixels)


def test_the_worst_images_are_those_that_lost_their_class_then_the_most_divergent():
    labels = np.array([0, 0, 1, 1])
    exact = np.array([[4, 0], [1, 0], [0, 3], [2, 0]], np.float32)  # the last one is wrong in both
    found = np.array([[1, 0], [0, 0.1], [0, 2.9], [2, 0]], np.float32)  # the second one flips
    report = judge_logits(found, exact, labels)
    assert [each.index for each in report.worst] == [1, 0, 2, 3]
    assert report.worst[1].distance == max(each.distance for each in report.worst)
    assert [(each.says, each.float_says, each.label) for each in report.worst][::3] == [(1, 0, 0), (0, 0, 1)]
    assert [(own.label, own.images, own.right, own.float_right) for own in report.by_class] == [
        (0, 2, 1, 2),
        (1, 2, 1, 1),
    ]
    alone = judge_logits(found, None, labels)
    assert [each.index for each in alone.worst[:2]] == [3, 1]  # cross-entropy
    assert judge_logits(found, None, None).worst == judge_logits(found, None, None).by_class == ()
