"""Outputs of every kind beside the float model's, each as its kind is compared."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mptq_export.evaluate.dense import DenseReport
from mptq_export.evaluate.embeddings import EmbeddingReport
from mptq_export.evaluate.logits import EvalReport
from mptq_export.evaluate.outputs import OutputsReport, compare_outputs
from mptq_export.recipe.outputs import Output
from mptq_export.support.errors import MptqError

IMAGES = 24
GIVEN = (Output("boxes", "values"), Output("logits", "logits"), Output("pooled", "embedding"), Output("map", "map"))
SHAPES = {
    "boxes": (5, 4),
    "logits": (6,),
    "pooled": (8,),
    "map": (3, 2, 2),
    "tokens": (5, 8),
    "scores": (5, 3),
    "choices": (5, 3),
}


def values(name: str, seed: int = 0, *, images: int = IMAGES) -> NDArray[np.float32]:
    return np.random.default_rng([seed, *map(ord, name)]).standard_normal((images, *SHAPES[name])).astype(np.float32)


def compared(noise: float, *given: Output, labels: NDArray[np.int64] | None = None) -> OutputsReport:
    exact = {each.name: values(each.name) for each in given}
    found = {name: value + np.float32(noise) * values(name, 1) for name, value in exact.items()}
    batches = [
        ([found[each.name][i : i + 10] for each in given], [exact[each.name][i : i + 10] for each in given])
        for i in range(0, IMAGES, 10)
    ]
    return compare_outputs(batches, given, labels=labels, groups=lambda: labels)


def test_several_outputs_have_a_row_each():
    report = compared(0.1, *GIVEN, labels=np.arange(IMAGES) % 6)
    assert report.images == IMAGES and report.logits is None and report.classes == 6
    boxes, logits, pooled, image_map = report.outputs
    assert isinstance(boxes, DenseReport) and isinstance(image_map, DenseReport)
    assert isinstance(logits, EvalReport) and isinstance(pooled, EmbeddingReport)
    assert (boxes.output, boxes.kind, boxes.shape) == ("boxes", "values", (5, 4))
    assert boxes.sqnr_db == pytest.approx(20, abs=1) and boxes.cosine is not None and 0.98 < boxes.cosine < 1
    assert logits.quantised.top1 is not None and logits.agreement is not None and logits.agreement > 0.8
    assert logits.cosine is not None and 0.98 < logits.cosine < 1
    assert pooled.beside_float is not None and 0.98 < pooled.beside_float.cosine < 1
    assert pooled.beside_float.neighbours is not None and pooled.quantised is not None and pooled.floating is not None
    content = report.to_json()
    assert isinstance(content["outputs"], list)
    assert [row["output"] for row in content["outputs"]] == ["boxes", "logits", "pooled", "map"]  # type: ignore[index, call-overload]


def test_the_same_values_lose_nothing():
    report = compared(0, *GIVEN)
    boxes, logits, pooled, _ = report.outputs
    assert isinstance(boxes, DenseReport) and (boxes.sqnr_db, boxes.cosine) == (None, 1)
    assert isinstance(logits, EvalReport) and (logits.agreement, logits.mean_kl, logits.cosine) == (1, 0, 1)
    assert isinstance(pooled, EmbeddingReport) and pooled.beside_float is not None
    assert pooled.beside_float.lowest_cosine == 1 and pooled.quantised is None  # there are no labels


def test_cosines_are_those_of_channels_of_tokens_and_of_whole_images():
    for output, axis in ((Output("tokens", "tokens"), -1), (Output("map", "map"), 1), (Output("boxes", "values"), 0)):
        (row,) = compared(0.5, output).outputs
        assert isinstance(row, DenseReport) and row.cosine is not None
        exact = values(output.name).astype(float)
        a, b = (
            np.moveaxis(x, axis, -1) if axis else x.reshape(IMAGES, -1)
            for x in (exact, exact + 0.5 * values(output.name, 1))
        )
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        assert row.cosine == pytest.approx(cosine.mean())


def test_an_embedding_without_a_float_model_names_classes():
    given, labels = (Output("pooled", "embedding"),), np.arange(IMAGES) % 3
    rows = values("pooled") * 0.1 + np.eye(8)[labels]
    report = compare_outputs([([rows.astype(np.float32)], None)], given, groups=lambda: labels)
    (row,) = report.outputs
    assert isinstance(row, EmbeddingReport) and row.beside_float is None and row.floating is None
    assert row.quantised is not None and row.quantised.nearest == 1 and row.quantised.ten is not None
    (row,) = compare_outputs([([rows.astype(np.float32)], None)], given, groups=lambda: np.zeros(IMAGES, int)).outputs
    assert isinstance(row, EmbeddingReport) and row.quantised is None  # one class says nothing


def test_what_does_not_belong_together():
    one, other = values("pooled"), values("pooled", images=IMAGES)[:, :5]
    given = (Output("pooled", "embedding"),)
    for batches, words in (
        ([], "there are no images"),
        ([([one], [other])], r"pooled is \[24, 8\] in the ONNX file and \[24, 5\] in the float model"),
        ([([one], [one, one])], "the float model gives 2 outputs, the ONNX file 1"),
        ([([values("map")], None)], "output pooled is float32 of shape .* not a vector an image"),
        ([([one.astype(int)], None)], "output pooled is int64"),
    ):
        with pytest.raises(MptqError, match=words):
            compare_outputs(batches, given)


def test_classes_are_compared_where_the_float_model_sees_an_object():
    given = (Output("scores", "scores"), Output("choices", "choices"), Output("tokens", "tokens"))
    found = [row.agreement for row in compared(0.5, *given).outputs if isinstance(row, DenseReport)]
    seen = {"scores": lambda x: x.max(-1) > 0, "choices": lambda x: x.argmax(-1) != 2}
    for name, agreement in zip(seen, found, strict=False):
        exact, other = values(name), values(name) + np.float32(0.5) * values(name, 1)
        same = (exact.argmax(-1) == other.argmax(-1))[seen[name](exact)]
        assert agreement == same.mean() and 0.5 < agreement < 1
    assert found[2] is None
    assert [row.agreement for row in compared(0, *given).outputs if isinstance(row, DenseReport)] == [1, 1, None]
