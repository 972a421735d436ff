from itertools import islice

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.runtime.graph_input import GraphInput
from mptq_export.support.errors import MptqError
from mptq_export.verify.inputs.probes import space_of
from mptq_export.verify.inputs.sets import InputSet, describe_inputs, probe_sources, random_inputs

from .graphs import linear_model, safe_weights


def test_float_inputs_in_batches_with_a_rest():
    spec = GraphInput("input", "float32", ("batch", 3, 8))
    batches = list(random_inputs(spec, 5, 2))
    assert [batch.shape for batch in batches] == [(2, 3, 8), (2, 3, 8), (1, 3, 8)]
    assert all(batch.dtype == np.float32 for batch in batches)
    assert abs(np.concatenate(batches).mean()) < 0.5


def test_integers_use_their_whole_range():
    (batch,) = random_inputs(GraphInput("input", "uint8", (None, 64, 64)), 1, 1)
    assert batch.dtype == np.uint8 and batch.min() == 0 and batch.max() == 255


def test_the_same_inputs_on_every_call():
    spec = GraphInput("input", "float32", ("n", 4))
    assert np.array_equal(next(random_inputs(spec, 1, 1)), next(random_inputs(spec, 1, 1)))


def test_a_fixed_batch_is_kept():
    spec = GraphInput("input", "float32", (4, 2))
    assert [batch.shape for batch in random_inputs(spec, 5, spec.batch(1))] == [(4, 2), (4, 2)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (GraphInput("input", "float32", ("n", 3, "height", 8)), "--images"),
        (GraphInput("input", "float32", ()), "--images"),
        (GraphInput("input", "bool", ("n", 3)), "no random inputs"),
        (GraphInput("input", "float32", (0, 3)), "no batch"),
    ],
)
def test_inputs_that_cannot_be_made_up(spec, message):
    with pytest.raises(MptqError, match=message):
        next(random_inputs(spec, 1, 1))


def made(model: onnx.ModelProto) -> dict[str, list[np.ndarray]]:
    return {kind: list(islice(rows, count)) for kind, (count, rows) in probe_sources(model).items()}


def test_made_up_floats_go_from_black_to_white_and_beyond():
    model = linear_model(safe_weights())
    found = made(model)
    assert {kind: len(rows) for kind, rows in found.items()} == {"random": 4, "constant": 9, "extreme": 14}
    assert all(row.dtype == np.float32 and row.shape == (24,) for rows in found.values() for row in rows)
    assert sorted(row[0] for row in found["constant"]) == list(np.linspace(-3, 3, 9, dtype=np.float32))
    ends = np.stack(found["extreme"])
    assert np.isposinf(ends).any() and np.isneginf(ends).any() and ends[np.isfinite(ends)].max() > 3e38
    assert not np.isnan(ends).any() and len({row.tobytes() for row in found["extreme"]}) == 14


def test_pixels_are_those_of_the_files_own_preprocessing():
    model = linear_model(safe_weights())
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 2, 2]))
    preprocessing = Preprocessing((3, 2, 2), (0.5, 0.4, 0.3), (0.5, 0.2, 0.1))
    helper.set_model_props(model, preprocessing.to_metadata())
    pixels = np.array([0, 255], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    np.testing.assert_allclose(np.stack(made(model)["constant"][:2]), preprocessing.normalize(pixels), rtol=1e-6)


def test_integers_have_no_beyond():
    found = made(linear_model(safe_weights(), uint8_input=True))
    assert sorted(row[0] for row in found["constant"]) == [0, 31, 63, 95, 127, 159, 191, 223, 255]
    assert len(found["extreme"]) == 6 and set(np.unique(found["extreme"])) == {0, 255}


def test_infinities_are_inputs_only_where_they_become_codes():
    model = linear_model(safe_weights())
    model.graph.node.insert(0, helper.make_node("Mul", ["input", "a_scale"], ["first"]))
    model.graph.node[1].input[0] = "first"
    assert space_of(model).saturates
    model.graph.node[0].input[1] = "input"  # its square: an infinity times zero is none
    assert not space_of(model).saturates
    model.graph.node[0].CopyFrom(helper.make_node("Sigmoid", ["input"], ["first"]))
    assert not space_of(model).saturates and len(made(model)["extreme"]) == 6


def rows(count: int, kind: int) -> tuple[int, list[np.ndarray]]:
    return count, [np.full(2, kind) for _ in range(count)]


def test_every_batch_size_sees_every_kind():
    inputs = InputSet(
        {"images": rows(16, 0), "random": rows(4, 1), "extreme": rows(7, 2)}, GraphInput("x", "int64", ("n", 2))
    )
    batches = list(inputs)
    assert len(batches) == len(inputs)
    for size in (1, 3):
        assert {int(value) for batch in batches if len(batch) == size for value in batch[:, 0]} == {0, 1, 2}
    assert inputs.drawn == {"images": 16, "random": 4, "extreme": 7}


@pytest.mark.parametrize(
    ("count", "batch", "first", "sizes"),
    [
        (1, None, "n", [1, 3]),
        (5, None, "n", [1, 1, 1, 1, 1, 3]),
        (6, None, "n", [1, 1, 1, 3]),
        (5, 2, "n", [2, 2, 1]),
        (5, None, 4, [4, 4]),
        (5, 2, 4, [4, 4]),
    ],
)
def test_batches(count: int, batch: int | None, first: int | str, sizes: list[int]):
    inputs = InputSet({"images": rows(count, 0)}, GraphInput("x", "int64", (first, 2)), batch)
    assert [len(found) for found in inputs] == sizes and len(inputs) == len(sizes)
    assert inputs.drawn == {"images": count}


def test_inputs_that_turn_out_to_be_missing():
    inputs = InputSet({"images": (8, rows(3, 0)[1])}, GraphInput("x", "int64", ("n", 2)))
    assert [len(found) for found in inputs] == [1, 1, 1] and inputs.drawn == {"images": 3}


def test_words():
    assert describe_inputs({"images": 1}, (1,)) == "1 image at batch 1"
    assert describe_inputs({"images": 2, "random": 4, "constant": 0, "extreme": 1}, (3, 1)) == (
        "2 images, 4 random and 1 extreme inputs at batches 1 and 3"
    )
    assert describe_inputs({"random": 1}, ()) == "1 random input"
