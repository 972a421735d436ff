import numpy as np
import pytest

from mptq_export.verify.difference import Difference, difference


def test_equal_tensors_have_no_difference():
    x = np.array([1.0, -0.0, np.inf], np.float32)
    assert difference(x, x.copy()) == Difference(values=3)


def test_one_ulp_is_a_difference():
    x = np.array([1.0, 2.0], np.float32)
    y = np.array([1.0, np.nextafter(np.float32(2), np.float32(3))], np.float32)
    found = difference(x, y)
    assert (found.differing, found.zero_signs) == (1, 0)
    assert found.largest == pytest.approx(2**-22)


def test_signs_of_zero_differ_and_are_told_apart():
    found = difference(np.array([0.0, 1.0], np.float32), np.array([-0.0, 1.5], np.float32))
    assert (found.differing, found.zero_signs, found.largest) == (2, 1, 0.5)


def test_nan_differs_even_from_itself():
    x = np.array([np.nan, 1.0], np.float32)
    found = difference(x, x)
    assert (found.differing, found.largest, found.note) == (1, np.inf, "NaN")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.bool_])
def test_integers_do_not_wrap(dtype):
    found = difference(np.array([0, 1], dtype), np.array([1, 1], dtype))
    assert (found.values, found.differing, found.largest) == (2, 1, 1.0)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (np.zeros((3, 2), np.float32), "shape"),
        (np.zeros((2, 3), np.float64), "type"),
        (np.zeros((0,), np.float32), "shape"),
    ],
)
def test_another_shape_or_type_makes_every_value_differ(other, word):
    found = difference(np.zeros((2, 3), np.float32), other)
    assert found.values == found.differing == 6
    assert word in found.note
    assert found.to_json()["largest"] is None


def test_empty_tensors_are_equal():
    assert difference(np.zeros((0, 4)), np.zeros((0, 4))) == Difference()


def test_sums_over_batches():
    assert Difference(2, 1, 0, 0.5) + Difference(3, 2, 1, 4.0, "NaN") == Difference(5, 3, 1, 4.0, "NaN")
