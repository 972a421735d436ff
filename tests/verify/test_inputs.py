import numpy as np
import pytest

from mptq_export.errors import MptqError
from mptq_export.verify.inputs import random_inputs
from mptq_export.verify.session import GraphInput


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
