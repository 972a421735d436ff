"""SQ-b: when it is used, what it says about itself, and that nothing makes it break."""

import numpy as np
import pytest
import torch

from mptq_export.quantize.method import BEST, PAPER, Method
from mptq_export.quantize.sq_b import STRENGTHS, channel_ranges, choose_sq_b
from mptq_export.recipe.schema import SqB

METHODS = pytest.mark.parametrize("method", [PAPER, BEST], ids=["paper", "best"])


def rows_and_weight(*, outliers: bool, width: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400, width, generator=generator)
    if outliers:
        rows[:, 3] = rows[:, 3] * 40
        rows[:, 7] = rows[:, 7] * 2 + 60
    return rows, torch.randn(30, width, generator=generator)


def assert_sound(choice: SqB, width: int) -> None:
    assert choice.shift.shape == choice.scale.shape == (width,)
    assert choice.shift.dtype == choice.scale.dtype == np.float64
    assert np.isfinite(choice.shift).all()
    assert np.isfinite(choice.scale).all()
    assert (choice.scale > 0).all()
    assert choice.strength in (0.0, *STRENGTHS)
    assert "off" in choice.reason
    for strength in STRENGTHS:
        assert f"{strength}:" in choice.reason


@METHODS
@pytest.mark.parametrize("bits", [(8, 8), (4, 4), (3, 3), (2, 2)])
def test_channels_with_outliers_are_smoothed(method: Method, bits: tuple[int, int]):
    rows, weight = rows_and_weight(outliers=True)
    choice = choose_sq_b(rows, weight, bits, method)
    assert_sound(choice, 24)
    assert choice.strength > 0
    others = [i for i in range(24) if i not in (3, 7)]
    assert choice.scale[3] > 3 * np.median(choice.scale[others])
    assert choice.shift[7] == pytest.approx(60, abs=6)
    after = (rows.numpy() - choice.shift) / choice.scale
    assert np.ptp(after) < np.ptp(rows.numpy())


@METHODS
@pytest.mark.parametrize("outliers", [False, True])
def test_what_is_chosen_has_the_smallest_error_of_those_that_are_listed(method: Method, outliers: bool):
    choice = choose_sq_b(*rows_and_weight(outliers=outliers), (4, 4), method)
    listed = choice.reason.split("strength: ")[1].split(", ")
    errors = {name: float(error) for name, error in (entry.split(": ") for entry in listed)}
    assert errors["off" if choice.strength == 0 else str(choice.strength)] == min(errors.values())


@METHODS
def test_off_is_no_change(method: Method):
    # Every channel alike except that the weights differ widely: any strength makes the rows uneven.
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(400, 16, generator=generator) * 2 - 1
    weight = torch.randn(20, 16, generator=generator) * torch.logspace(-2, 2, 16)
    choice = choose_sq_b(rows, weight, (8, 2), method)
    assert_sound(choice, 16)
    if choice.strength == 0:
        assert not choice.shift.any()
        assert (choice.scale == 1).all()


def test_off_wins_where_smoothing_ruins_the_weights():
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(400, 16, generator=generator) * 2 - 1
    weight = torch.randn(20, 16, generator=generator) * torch.logspace(-2, 2, 16)
    choice = choose_sq_b(rows, weight, (8, 3), PAPER, strengths=(0.0001,))
    assert choice.strength == 0
    assert not choice.shift.any()
    assert (choice.scale == 1).all()


@METHODS
@pytest.mark.parametrize("constant", [0.0, -3.0, 1e-9])
@pytest.mark.parametrize("everywhere", [False, True])
def test_constant_channels_do_not_break_it(method: Method, constant: float, everywhere: bool):
    rows, weight = rows_and_weight(outliers=False)
    rows[:, :: 1 if everywhere else 5] = constant
    choice = choose_sq_b(rows, weight, (4, 4), method)
    assert_sound(choice, 24)
    after = (rows.double().numpy() - choice.shift) / choice.scale
    assert np.isfinite(after).all()


@METHODS
def test_weights_that_are_zero_do_not_break_it(method: Method):
    rows, weight = rows_and_weight(outliers=True)
    weight[:, ::4] = 0
    assert_sound(choose_sq_b(rows, weight, (4, 4), method), 24)
    assert_sound(choose_sq_b(rows, torch.zeros_like(weight), (4, 4), method), 24)


@METHODS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_rows_do_not_break_it(method: Method, count: int):
    rows, weight = rows_and_weight(outliers=True)
    assert_sound(choose_sq_b(rows[:count], weight, (4, 4), method), 24)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_channel_ranges_lose_tails_only_where_that_pays(bits: int):
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(1000, 3, generator=generator) * 2 - 1
    rows[:3, 1] = 25.0  # a rare outlier
    rows[:, 2] += 5
    shift, span = channel_ranges(rows, bits)
    assert shift.dtype == span.dtype == torch.float64
    assert span[0] == pytest.approx(1, abs=0.1)
    assert shift[2] == pytest.approx(5, abs=0.1)
    middle, half = (rows.amax(0) + rows.amin(0)) / 2, (rows.amax(0) - rows.amin(0)) / 2
    errors = []
    for centre, width in ((shift.float(), span.float()), (middle, half)):
        step = 2 * width / (2**bits - 1)
        codes = ((rows - centre) / step + (2**bits - 1) / 2).round().clamp(0, 2**bits - 1)
        errors.append((((codes - (2**bits - 1) / 2) * step + centre) - rows).square().sum(0))
    assert (errors[0] <= errors[1] * 1.0001).all()


@pytest.mark.parametrize("bits", [3, 4])
def test_centred_codes_have_their_middle_in_that_of_the_outputs(bits: int):
    generator = torch.Generator().manual_seed(0)
    rows, weight = torch.rand(600, 16, generator=generator) + 1.0, torch.randn(20, 16, generator=generator)
    choice = choose_sq_b(rows, weight, (8, bits), BEST, centred=True)
    moved = (rows.double().numpy() - choice.shift) / choice.scale
    step = np.ptp(moved) / (2**bits - 1)
    middle = (moved.max(0) + moved.min(0)) / 2
    assert np.abs(middle + step / 2).max() < 0.2 * step  # the codes are -4 to 3, or -8 to 7
