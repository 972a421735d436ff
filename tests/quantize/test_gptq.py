"""Error-compensated rounding: inside its limits always, better than nearest where inputs are correlated."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.gptq import descend_coordinates, round_gptq
from mptq_export.quantize.weights.hessian import DAMPING, Hessian

from .helpers import correlated, hessian_error, second_moment

EIGHT = CodeRange.of(8)
FOUR = CodeRange.of(4)


def compensated(
    weight: torch.Tensor, scale: torch.Tensor, hessian: Hessian, span: CodeRange, sweeps: int = 2
) -> torch.Tensor:
    return descend_coordinates(round_gptq(weight, scale, hessian, span), weight, scale, hessian, span, sweeps=sweeps)


def damped(hessian: Hessian) -> Hessian:
    raised = DAMPING * hessian.matrix.diagonal().mean()
    return Hessian(hessian.matrix + raised * torch.eye(len(hessian.matrix), dtype=hessian.matrix.dtype))


def matrix(rows: int, width: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def pairs(codes: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(codes.abs(), (0, codes.shape[1] % 2)).reshape(len(codes), -1, 2).sum(2)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 80), st.integers(0, 2**16), st.sampled_from([0.004, 0.02, 1.0]), st.integers(0, 3))
def test_codes_stay_in_range_and_pairs_under_their_limit(width: int, seed: int, scale: float, sweeps: int):
    weight, x = matrix(6, width, seed), correlated(50, width, seed)
    scales = torch.full((6,), scale)
    codes = compensated(weight, scales, second_moment(x), EIGHT, sweeps)
    assert codes.shape == weight.shape
    assert torch.equal(codes, codes.round())
    assert codes.abs().max() <= 127
    assert pairs(codes).max() <= 128
    codes = compensated(weight, scales, second_moment(x), FOUR, sweeps)
    assert codes.min() >= -8
    assert codes.max() <= 7


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
@pytest.mark.parametrize("width", [15, 64, 150])
def test_the_output_error_is_smaller_than_that_of_rounding_to_nearest(bits: int, width: int):
    weight, hessian = matrix(20, width), second_moment(correlated(600, width))
    high = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(1) / high
    nearest = (weight / scale[:, None]).round().clamp(-high - 1, high)
    codes = compensated(weight, scale, hessian, CodeRange.of(bits))
    error, plain = (hessian_error(weight - c * scale[:, None], hessian).sum() for c in (codes, nearest))
    assert error < 0.8 * plain


def test_it_also_pays_under_a_pair_limit():
    weight, hessian = matrix(20, 63), second_moment(correlated(600, 63))
    scale = pairs(weight).amax(1) / 128
    nearest = (weight / scale[:, None]).round()  # what no limit would allow, even
    codes = compensated(weight, scale, hessian, EIGHT)
    error, plain = (hessian_error(weight - c * scale[:, None], hessian).sum() for c in (codes, nearest))
    assert error < plain


@pytest.mark.parametrize("width", [1, 2, 33, 130])
def test_without_correlation_it_is_rounding_to_nearest(width: int):
    weight = matrix(7, width)
    hessian = Hessian(torch.diag(torch.rand(width, generator=torch.Generator().manual_seed(2)).double() + 0.1))
    scale = weight.abs().amax(1) / 7
    codes = compensated(weight, scale, hessian, FOUR)
    assert torch.equal(codes, (weight / scale[:, None]).round())


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("width", [31, 100])
def test_no_sweep_makes_it_worse(bits: int, width: int):
    weight, hessian = matrix(16, width), second_moment(correlated(300, width))
    span = CodeRange.of(bits)
    scale = weight.abs().amax(1) / span.high if bits < 8 else pairs(weight).amax(1) / span.pair_limit
    errors = [
        hessian_error(weight - compensated(weight, scale, hessian, span, n) * scale[:, None], damped(hessian))
        for n in range(4)
    ]
    for before, after in pairwise(errors):
        assert (after <= before * (1 + 1e-4)).all()
    assert bits == 8 or errors[-1].sum() < errors[0].sum()  # there is little to gain at 8 bits


def test_channels_do_not_depend_on_each_other():
    weight, hessian = matrix(12, 70), second_moment(correlated(200, 70))
    scale = weight.abs().amax(1) / 3
    together = compensated(weight, scale, hessian, CodeRange.of(3))
    alone = torch.cat([compensated(weight[i : i + 1], scale[i : i + 1], hessian, CodeRange.of(3)) for i in range(12)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("dead", ["some", "all"])
def test_channels_that_are_never_seen_do_not_break_it(dead: str):
    x = correlated(100, 20)
    x[:, :: 3 if dead == "some" else 1] = 0
    weight = matrix(5, 20)
    scale = weight.abs().amax(1) / 7
    codes = compensated(weight, scale, second_moment(x), FOUR)
    assert torch.isfinite(codes).all()
    assert codes.abs().max() <= 8


def test_fewer_rows_than_columns_are_enough():
    weight = matrix(5, 96)
    codes = compensated(weight, weight.abs().amax(1) / 7, second_moment(correlated(4, 96)), FOUR)
    assert torch.isfinite(codes).all()


def test_the_arguments_are_left_as_they_were():
    weight, hessian = matrix(4, 10), second_moment(correlated(50, 10))
    copies = weight.clone(), hessian.matrix.clone()
    compensated(weight, torch.ones(4), hessian, FOUR)
    assert torch.equal(weight, copies[0])
    assert torch.equal(hessian.matrix, copies[1])
