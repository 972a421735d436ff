"""Where a matrix product may be one float32 product, and where it must be cut."""

import numpy as np
import pytest
from integer_models import Array

from kernels_ref.errors import InterpreterError
from kernels_ref.matmul import EXACT_F32, exact_product, factor_slices, weight_slices

RNG = np.random.default_rng(5)


def column(total: int) -> Array:
    """(K, 1) weights of at most 127 whose sum is `total`."""
    whole, rest = divmod(total, 127)
    return np.asarray([[127]] * whole + [[rest]], np.float32)


def assert_exact(a: Array, w: Array, slices: list[slice] | None = None) -> Array:
    got = exact_product(a, w, slices)
    assert (got == a.astype(np.int64) @ w.astype(np.int64)).all()
    return got


# 255 * 65793 = 2^24 - 1, the greatest sum that is safe.
@pytest.mark.parametrize(("total", "parts"), [(65793, 1), (65794, 2)])
@pytest.mark.parametrize("sign", [1, -1])
def test_constant_weights_are_cut_above_the_bound(total: int, parts: int, sign: int):
    w = sign * column(total)
    slices, bound = weight_slices(w, 0, 255)
    assert len(slices) == parts and bound == 255 * total
    a = np.full((2, len(w)), 255, np.float32)
    a[1] -= np.arange(len(w)) % 2
    got = assert_exact(a, w, slices)
    assert got.dtype == (np.float32 if parts == 1 else np.float64)


def test_the_slow_path_is_needed_above_the_bound():
    w = column(65795)
    a = np.full((1, len(w)), 255, np.float32)
    assert int((a @ w)[0, 0]) != 255 * 65795
    assert_exact(a, w, weight_slices(w, 0, 255)[0])


@pytest.mark.parametrize(("total", "fits"), [(65793, True), (65794, False)])
@pytest.mark.parametrize("span", [(0, 255), (-1, 254), (-128, 127)])
def test_weights_of_both_signs_never_add_up(total: int, fits: bool, span: tuple[int, int]):
    w = np.concatenate([column(total), -column(total)])  # the sum of |a| |w| is up to twice the bound
    slices, _ = weight_slices(w, *span)
    assert (len(slices) == 1) == fits
    low, high = span
    worst = np.where(w[:, 0] > 0, high, low).astype(np.float32)
    other = np.where(w[:, 0] > 0, low, high).astype(np.float32)
    assert_exact(np.stack([worst, other, RNG.permutation(worst)]), w, slices)


def test_one_long_column_cuts_all_of_them():
    w = RNG.integers(-64, 64, (3072, 9)).astype(np.float32)
    assert len(weight_slices(w, 0, 255)[0]) == 1
    w[:, 4] = 64
    slices, _ = weight_slices(w, 0, 255)
    assert len(slices) == 3
    assert_exact(RNG.integers(0, 256, (5, 3072)).astype(np.float32), w, slices)


@pytest.mark.parametrize("depth", [0, 1, 256, 257, 258, 1000])
def test_two_activations_are_cut_by_their_types(depth: int):
    slices = factor_slices(depth, 255 * 255)  # 258 products of 255 * 255 stay below 2^24
    assert len(slices) == -(-depth // 258)
    a, b = np.full((2, 3, depth), 255, np.float32), np.full((2, depth, 4), 255, np.float32)
    assert_exact(a, b, slices)


def test_one_product_beyond_float32_is_refused():
    a = np.asarray([[EXACT_F32]], np.float32)
    with pytest.raises(InterpreterError, match="cannot be summed exactly"):
        exact_product(a, np.ones((1, 1), np.float32))


def test_weights_of_no_rows():
    w = np.zeros((0, 3), np.float32)
    slices, bound = weight_slices(w, 0, 255)
    assert bound == 0 and (exact_product(np.zeros((2, 0), np.float32), w, slices) == 0).all()
