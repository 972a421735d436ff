"""Suppression, regions and masks as ONNX ops in onnxruntime, beside torchvision's on the same inputs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import batched_nms

from mptq_export.detect.roi_align import levels_of_sides
from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.detector.masks import paste
from mptq_export.emit.detector.ops import Ops
from mptq_export.emit.detector.roi_align import level_borders, pool
from mptq_export.emit.detector.suppression import Candidates, suppress_in_groups
from mptq_export.recipe.detector import Pooling
from tests.detect.test_boxes import CROWDS, random_boxes
from tests.detect.test_roi_align import ADVERSARIAL, POOLING, TOLERANCE, theirs


def run(build: Callable[[Ops], str], **feeds: np.ndarray) -> np.ndarray:
    """What a graph that `build` makes gives for inputs of these names."""
    builder = OnnxBuilder()
    builder.reserve([*feeds, "result"])
    builder.rename_output(build(Ops(builder)), "result")
    given = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), [f"{name}_{axis}" for axis in range(array.ndim)]
        )
        for name, array in feeds.items()
    ]
    nodes, stored = builder.nodes, list(builder.initializers.values())
    graph = helper.make_graph(nodes, "glue", given, [onnx.ValueInfoProto(name="result")], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", builder.opset)], ir_version=builder.ir)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, feeds)
    return result


@pytest.mark.parametrize("name", [name for name in CROWDS if name != "none"])  # where there are none, all are marked
def test_suppression_keeps_what_torchvision_keeps(name: str):
    # onnxruntime turns boxes over whose ends are in the wrong order; no decoding gives such.
    boxes = np.concatenate(
        (np.minimum(*np.split(CROWDS[name], 2, 1)), np.maximum(*np.split(CROWDS[name], 2, 1))), axis=1
    )
    draw = np.random.default_rng(3)
    groups = draw.integers(0, 7, len(boxes))
    valid = draw.random(len(boxes)) < 0.9
    valid[0] = True
    for drawn in (draw.random(len(boxes)), draw.integers(0, 6, len(boxes)) / 5):
        scores = drawn.astype(np.float32)
        for overlap in (0.5, 0.6, 0.7, 1 / 3, 0.0):
            ours = run(
                lambda op, overlap=overlap: suppress_in_groups(
                    op, Candidates("boxes", "scores", "groups", "valid"), 7, overlap, 10_000
                ),
                boxes=boxes,
                scores=scores,
                groups=groups,
                valid=valid,
            )
            given = [torch.from_numpy(each[valid]) for each in (boxes, scores, groups)]
            expected = np.flatnonzero(valid)[batched_nms(*given, overlap).numpy()]
            if valid.sum() > 1000:  # torchvision sorts these once more, with equal scores in any order
                assert set(ours) == set(expected)
                ours, expected = scores[ours], scores[expected]
            assert np.array_equal(ours, expected)


def test_no_candidate_and_a_few_that_are_kept():
    boxes, groups = random_boxes(50), np.zeros(50, np.int64)
    scores = np.random.default_rng(0).random(50).astype(np.float32)
    feeds = {"boxes": boxes, "scores": scores, "groups": groups}
    candidates = Candidates("boxes", "scores", "groups", "valid")
    for valid, kept, count in ((np.zeros(50, bool), 9, 0), (np.ones(50, bool), 4, 4), (np.ones(50, bool), 4000, 50)):
        found = run(lambda op, kept=kept: suppress_in_groups(op, candidates, 3, 1.0, kept), **feeds, valid=valid)
        assert np.array_equal(found, np.argsort(-scores, kind="stable")[:count])


@pytest.mark.parametrize("samples", [2, 0, 3])
@pytest.mark.parametrize("levels", [3, 1])
def test_regions_are_cut_out_as_by_torchvision(samples: int, levels: int):
    pooling = replace(POOLING, samples=samples, levels=POOLING.levels[:levels], scales=POOLING.scales[:levels])
    draw = np.random.default_rng(0)
    shapes = {"a": (48, 64), "b": (24, 32), "c": (12, 16)}
    features = {name: draw.normal(size=(5, *shape)).astype(np.float32) for name, shape in shapes.items()}
    corner = draw.random((40, 2)) * (256, 192)
    several = np.concatenate((corner, corner + np.exp(draw.uniform(-1, 5.5, (40, 2)))), axis=1).astype(np.float32)

    def build(op: Ops) -> str:
        pooled = pool(op, pooling, {name: name for name in pooling.levels}, "boxes")
        return op.rows(pooled.features, pooled.back)

    for boxes in (several, ADVERSARIAL, ADVERSARIAL[:1], ADVERSARIAL[1:2]):
        given = {name: features[name][None] for name in pooling.levels}
        expected = theirs(pooling, {name: features[name] for name in pooling.levels}, boxes)
        np.testing.assert_allclose(run(build, boxes=boxes, **given), expected, rtol=0, atol=TOLERANCE)


def test_borders_between_levels_are_to_the_last_bit():
    pooling = Pooling(("2", "3", "4", "5"), (1 / 4, 1 / 8, 1 / 16, 1 / 32), (7, 7), 2, 224, 4)
    borders = level_borders(pooling)
    for level, border in enumerate(borders, 1):
        side = np.float32(border)
        around = np.array([np.nextafter(side, np.float32(0)), side, np.nextafter(side, np.float32(1e9))], np.float32)
        assert list(levels_of_sides(pooling, around)) == [level - 1, level, level]
    assert np.allclose(borders, (112, 224, 448), rtol=1e-5)


def test_masks_are_those_of_torchvision():
    draw = np.random.default_rng(9)
    small = draw.random((9, 28, 28)).astype(np.float32)
    boxes = np.array(
        [
            [10, 10, 50, 60],
            [0, 0, 110, 70],
            [-30, -20, 20, 30],
            [90, 50, 200, 300],
            [200, 200, 220, 230],
            [30, 30, 30, 30],
            [30.4, 30.6, 31.2, 31.1],
            [5, 20, 105, 20.5],
            [-500, -500, 1000, 900],
        ],
        np.float32,
    )
    size = np.array([70, 110], np.int64)
    ours = run(lambda op: paste(op, "small", "boxes", "size", 28), small=small, boxes=boxes, size=size)
    expected = paste_masks_in_image(torch.from_numpy(small)[:, None], torch.from_numpy(boxes), (70, 110))[:, 0].numpy()
    clear = np.abs(expected - 0.5) > 1e-5
    assert np.array_equal(ours[clear], (expected > 0.5)[clear])
    assert clear.mean() > 0.999
    assert ours.any(axis=(1, 2)).sum() >= 7
    none = run(lambda op: paste(op, "small", "boxes", "size", 28), small=small[:0], boxes=boxes[:0], size=size)
    assert none.shape == (0, 70, 110)
