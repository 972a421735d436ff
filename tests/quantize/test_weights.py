"""Weight codes: within their range, safe for every kernel, as near to the weights as their form allows."""

import numpy as np
import pytest

from mptq_export.quantize.weights import PAIR_LIMIT, pair_sums, quantize_weight


def matrices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((24, 64)).astype(np.float32)
    spiky = normal.copy()
    spiky[:, 5] = 40
    return {
        "normal": normal,
        "odd width": normal[:, :63],
        "one column": normal[:, :1],
        "outliers": spiky,
        "all equal": np.full((4, 16), 0.5, np.float32),
        "alternating": np.tile(np.array([1, -1], np.float32), (4, 8)),
        # many pairs at the limit: rounding lifts both halves
        "uniform": rng.uniform(0.98, 1.0, (64, 128)).astype(np.float32),
        "ties": (rng.integers(-4, 5, (32, 32)) / 2).astype(np.float32),
        "large": normal * np.float32(1e30),
        "small": normal * np.float32(1e-25),
    }


@pytest.mark.parametrize("name", matrices())
def test_pair_safe_codes_hold_the_limit_and_the_error_is_half_a_step(name: str):
    weight = matrices()[name]
    quant = quantize_weight(weight, 8)
    codes = quant.codes.astype(np.int64)
    assert (quant.form, quant.bits, quant.codes.dtype, quant.scale.dtype) == ("pair_safe", 8, np.int8, np.float32)
    assert quant.codes.shape == weight.shape
    assert np.abs(codes).max() <= 127
    padded = np.abs(np.pad(codes, ((0, 0), (0, weight.shape[1] % 2))))
    assert (padded[:, 0::2] + padded[:, 1::2]).max() <= PAIR_LIMIT == 128
    assert 255 * PAIR_LIMIT < 2**15
    steps = np.abs(codes - weight.astype(np.float64) / quant.scale[:, None].astype(np.float64))
    moved = padded.sum() and (padded[:, 0::2] + padded[:, 1::2] == PAIR_LIMIT)
    assert steps.max() <= 1.5 + 1e-4  # a pair that rounding lifts above the limit gives one step back
    pairs = np.pad(steps, ((0, 0), (0, weight.shape[1] % 2)), constant_values=0)
    pairs = np.maximum(pairs[:, 0::2], pairs[:, 1::2])
    assert pairs[~moved].max(initial=0) <= 0.5 + 1e-4  # and only such a pair


@pytest.mark.parametrize("name", matrices())
def test_the_pair_scale_is_never_coarser_than_7_bits(name: str):
    weight = matrices()[name]
    assert (quantize_weight(weight, 8).scale <= np.abs(weight).max(1) / 63 * 1.0001).all()


def test_a_pair_at_the_limit_uses_it():
    weight = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, -0.5]], np.float32)
    assert np.abs(quantize_weight(weight, 8).codes).tolist() == [[64, 64], [127, 0], [85, 43]]


@pytest.mark.parametrize("bits", range(2, 8))
@pytest.mark.parametrize("name", matrices())
def test_narrow_codes_fill_their_range_with_half_a_step_of_error(name: str, bits: int):
    weight = matrices()[name]
    quant = quantize_weight(weight, bits)
    high = 2 ** (bits - 1) - 1
    assert (quant.form, quant.bits) == ("narrow", bits)
    assert np.abs(quant.codes.astype(int)).max(1).tolist() == [high] * len(weight)
    steps = np.abs(quant.codes - weight.astype(np.float64) / quant.scale[:, None].astype(np.float64))
    assert steps.max() <= 0.5 + 1e-4
    if bits < 8:
        assert pair_sums(quant.codes).max() <= PAIR_LIMIT


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("value", [0.0, 1e-44])
def test_a_channel_of_zeros_gets_zeros_and_scale_one(bits: int, value: float):
    weight = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    weight[1] = value
    quant = quantize_weight(weight, bits)
    assert not quant.codes[1].any()
    assert quant.scale[1] == 1
    assert (quant.scale[[0, 2]] < 1).all() or bits == 2
    assert np.isfinite(quant.scale).all()


def test_the_weight_itself_is_not_changed():
    weight = matrices()["uniform"]
    before = weight.copy()
    for bits in range(2, 9):
        quantize_weight(weight, bits)
    assert np.array_equal(weight, before)
