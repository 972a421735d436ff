"""Weight codes: within their range, safe for every kernel, as near to the weights as their form allows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mptq_export.quantize.weights.code_range import PAIR_LIMIT, CodeRange
from mptq_export.quantize.weights.gptq import descend_coordinates, round_gptq
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.quantize_weight import dequantize, pair_sums, quantize_weight
from mptq_export.support.errors import MptqError

from .helpers import correlated, hessian_error, second_moment


def matrices() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((24, 64)).astype(np.float32)
    spiky = normal.copy()
    spiky[:, 5] = 40
    made = {
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
    return {name: torch.from_numpy(matrix.copy()) for name, matrix in made.items()}


MODES = [
    {"search_scales": False, "gptq": False},
    {"search_scales": True, "gptq": False},
    {"search_scales": False, "gptq": True},
    {"search_scales": True, "gptq": True},
]


def pairs(values: torch.Tensor) -> torch.Tensor:
    """`|w[2i]|, |w[2i+1]|`: [N, ceil(K / 2), 2]."""
    return torch.nn.functional.pad(values.abs(), (0, values.shape[1] % 2)).reshape(len(values), -1, 2)


@pytest.mark.parametrize("name", matrices())
def test_pair_safe_codes_hold_the_limit_and_the_error_is_half_a_step(name: str):
    weight = matrices()[name]
    codes, scale = quantize_weight(weight, 8)
    assert (codes.shape, codes.dtype, scale.dtype) == (weight.shape, torch.float32, torch.float32)
    assert codes.abs().max() <= 127
    sums = pairs(codes).sum(2)
    assert sums.max() <= PAIR_LIMIT == 128
    assert 255 * PAIR_LIMIT < 2**15
    steps = (codes - weight.double() / scale[:, None].double()).abs()
    assert steps.max() <= 1.5 + 1e-4  # a pair that rounding lifts above the limit gives one step back
    assert pairs(steps).amax(2)[sums < PAIR_LIMIT].max() <= 0.5 + 1e-4 if (sums < PAIR_LIMIT).any() else True


@pytest.mark.parametrize("name", matrices())
def test_the_pair_scale_is_never_coarser_than_7_bits(name: str):
    weight = matrices()[name]
    assert (quantize_weight(weight, 8)[1] <= weight.abs().amax(1) / 63 * 1.0001).all()


def test_a_pair_at_the_limit_uses_it():
    weight = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, -0.5]])
    assert quantize_weight(weight, 8)[0].abs().tolist() == [[64, 64], [127, 0], [85, 43]]


@pytest.mark.parametrize("bits", range(2, 8))
@pytest.mark.parametrize("name", matrices())
def test_narrow_codes_fill_their_range_with_half_a_step_of_error(name: str, bits: int):
    weight = matrices()[name]
    codes, scale = quantize_weight(weight, bits)
    high = 2 ** (bits - 1) - 1
    assert codes.abs().amax(1).tolist() == [high] * len(weight)
    assert (codes - weight.double() / scale[:, None].double()).abs().max() <= 0.5 + 1e-4


@settings(deadline=None, max_examples=80)
@given(
    st.integers(2, 8),
    st.integers(1, 70),
    st.integers(0, 2**16),
    st.sampled_from(MODES),
    st.sampled_from([1.0, 4.0, 1e-20]),
)
def test_no_mode_leaves_the_range_or_the_pair_limit(bits: int, width: int, seed: int, mode: dict, size: float):
    weight = size * torch.randn(5, width, generator=torch.Generator().manual_seed(seed)) ** 3
    codes, scale = quantize_weight(weight, bits, second_moment(correlated(40, width, seed)), **mode)
    span = CodeRange.of(bits)
    assert codes.shape == weight.shape
    assert scale.shape == (5,)
    assert (scale > 0).all()
    assert torch.equal(codes, codes.round())
    assert -128 < span.low <= codes.min()
    assert codes.max() <= span.high
    assert pair_sums(codes.numpy()).max() <= PAIR_LIMIT  # at fewer bits no pair can pass it


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_code_range_is_that_of_its_width(bits: int):
    span = CodeRange.of(bits)
    assert span.high == 2 ** (bits - 1) - 1
    assert span.low in (-span.high, -span.high - 1)
    assert span.low > -128
    assert (span.pair_limit is None) == (bits < 8)
    assert span.form == ("pair_safe" if bits == 8 else "narrow")
    if span.pair_limit is None:
        assert 2 * max(-span.low, span.high) <= PAIR_LIMIT


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("value", [0.0, 1e-44])
def test_a_channel_of_zeros_gets_zeros_and_scale_one(bits: int, value: float, mode: dict):
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32))
    weight[1] = value
    codes, scale = quantize_weight(weight, bits, second_moment(correlated(40, 8)), **mode)
    assert not codes[1].any()
    assert scale[1] == 1
    assert torch.isfinite(scale).all()
    assert codes[0].any()
    assert codes[2].any()


@pytest.mark.parametrize("gptq", [False, True])
@pytest.mark.parametrize("bits", range(2, 9))
def test_searched_scales_are_never_worse(bits: int, gptq: bool):
    weight = matrices()["odd width"] ** 3
    hessian = second_moment(correlated(300, 63))
    errors = []
    for search in (True, False):
        codes, scale = quantize_weight(weight, bits, hessian, search_scales=search, gptq=gptq)
        errors.append(hessian_error(weight - dequantize(codes, scale), hessian))
    if gptq:  # scales are compared before the last sweeps over the codes: of most channels the better one stays
        assert errors[0].sum() <= 1.03 * errors[1].sum()
    else:
        assert (errors[0] <= errors[1] * (1 + 1e-3)).all()
    assert bits > 4 or errors[0].sum() < 0.9 * errors[1].sum()


@pytest.mark.parametrize("tail", [1, 3])
@pytest.mark.parametrize("bits", range(2, 9))
def test_a_few_promising_scales_are_almost_as_good_as_all(bits: int, tail: int):
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((24, 256)).astype(np.float32)) ** tail
    hessian = second_moment(correlated(900, 256))
    _, widest = quantize_weight(weight, bits, hessian)
    span, found = CodeRange.of(bits), []
    for part in torch.linspace(1, 0.25, 16):
        codes = round_gptq(weight, widest * part, hessian, span)
        found.append(hessian_error(weight - dequantize(codes, widest * part), hessian))
    best = widest * torch.linspace(1, 0.25, 16)[torch.stack(found).argmin(0)]
    all_tried = descend_coordinates(round_gptq(weight, best, hessian, span), weight, best, hessian, span)
    codes, scale = quantize_weight(weight, bits, hessian, search_scales=True, gptq=True)
    errors = [hessian_error(weight - dequantize(*each), hessian).sum() for each in ((codes, scale), (all_tried, best))]
    assert errors[0] < (1.1 if tail == 1 else 1.3) * errors[1]


@pytest.mark.parametrize("bits", range(2, 9))
def test_compensated_codes_have_the_smaller_output_error(bits: int):
    weight, hessian = matrices()["odd width"], second_moment(correlated(300, 63))
    error = {}
    for gptq in (True, False):
        codes, scale = quantize_weight(weight, bits, hessian, gptq=gptq)
        error[gptq] = float(hessian_error(weight - dequantize(codes, scale), hessian).sum())
    assert error[True] < error[False]


@pytest.mark.parametrize("mode", MODES[1:], ids=str)
def test_without_moments_there_is_nothing_to_search_by(mode: dict):
    with pytest.raises(MptqError, match="second moments of their inputs"):
        quantize_weight(torch.randn(3, 4), 4, **mode)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_weight_itself_is_not_changed(mode: dict):
    weight, hessian = matrices()["uniform"], second_moment(correlated(200, 128))
    before = weight.clone(), hessian.matrix.clone()
    for bits in (2, 5, 8):
        quantize_weight(weight, bits, hessian, **mode)
    assert torch.equal(weight, before[0])
    assert torch.equal(hessian.matrix, before[1])


def test_a_narrower_scale_takes_what_is_too_much_off_both_halves():
    # Only the second channel wants less than its min/max scale; its pairs then pass the limit by more than one.
    weight = torch.tensor([[1.0, 1.0, 0.0, 0.1], [1.0, 0.9, 0.013, 0.5]])
    hessian = Hessian(torch.diag(torch.tensor([1e-6, 1e-6, 1.0, 1.0], dtype=torch.float64)))
    codes, scale = quantize_weight(weight, 8, hessian, search_scales=True)
    assert scale[1] < weight[1, :2].sum() / PAIR_LIMIT * 0.99
    assert pairs(codes).sum(2)[1, 0] == PAIR_LIMIT
    wanted = (weight[1, :2] / scale[1]).clamp(max=CodeRange.of(8).high)
    assert (wanted - codes[1, :2]).abs().diff().abs() <= 1  # shared alike


def test_pair_sums_by_hand():
    assert pair_sums(np.array([[1, -2, 3], [-128, 0, 7]], np.int8)).tolist() == [[3, 3], [128, 7]]


@pytest.mark.parametrize("mode", MODES)
def test_no_scale_is_below_the_least_one(mode: dict[str, bool]):
    weight = torch.from_numpy(np.random.default_rng(1).standard_normal((6, 9)).astype(np.float32))
    hessian = Hessian(torch.eye(9, dtype=torch.float64))
    _, plain = quantize_weight(weight, 8, hessian, **mode)
    least = torch.tensor([0.0, 0.0, 0.0, 0.5, 1.0, 1e6])
    codes, scale = quantize_weight(weight, 8, hessian, smallest_scale=least, **mode)
    assert torch.equal(scale[:3], plain[:3])
    assert (scale[3:] >= least[3:]).all()
    assert torch.allclose(scale[3:], least[3:], rtol=5e-4)
    assert not codes[5].any()  # next to its bias the channel's weights are nothing
    assert torch.equal(codes[4], (weight[4] / scale[4]).round())
