"""What an error of a block's output costs, against a quadratic form that is known."""

import pytest
import torch

from mptq_export.quantize.reconstruct.loss import BlockLoss

SHAPE = (64, 5, 7)


@pytest.fixture
def error() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def test_weights_of_rows_and_channels_are_found_from_gradients(error: torch.Tensor):
    rows, channels = torch.linspace(1, 2, 5)[:, None], torch.linspace(1, 3, 7)
    loss = BlockLoss.closed_form(rows * channels * error, error, rank_one=False)
    # Half of the mean of all for each, half of its own.
    expected = 0.5 * (rows * channels).mean() + 0.5 * rows * channels
    assert torch.allclose(loss.diagonal[0], expected, rtol=0.1)
    assert loss.direction is None
    target = torch.zeros(SHAPE)
    expected_loss = (loss.diagonal * error.square()).sum() / (2 * SHAPE[0])
    assert torch.isclose(loss(error, target), expected_loss)


def test_no_weight_is_below_zero_or_far_above_the_mean(error: torch.Tensor):
    gradients = error.clone()
    gradients[:, 0] *= -1  # a row whose errors seem to help
    gradients[:, 1, 2] *= 1e4
    diagonal = BlockLoss.closed_form(gradients, error, rank_one=False).diagonal
    whole = (gradients * error).sum() / error.square().sum()
    assert diagonal.min() >= 0.5 * whole
    assert torch.isclose(diagonal.max(), (0.5 + 0.5 * 10) * whole)


def test_gradients_that_tell_nothing_leave_the_squared_error(error: torch.Tensor):
    loss = BlockLoss.closed_form(-error, error, rank_one=True)
    assert torch.equal(loss.diagonal, torch.ones(1, *SHAPE[1:]))
    assert loss.direction is None


def test_the_second_term_finds_the_direction_in_which_errors_add_up(error: torch.Tensor):
    along = torch.randn(SHAPE[1:], generator=torch.Generator().manual_seed(1))
    gradients = (error * along).sum((1, 2), keepdim=True) * along  # of 1/2 (along . d)^2
    loss = BlockLoss.closed_form(gradients, error, rank_one=True)
    assert loss.direction is not None
    found = (loss.direction * error).flatten(1).sum(1).square()
    assert torch.allclose(found, (along * error).flatten(1).sum(1).square(), rtol=1e-3)
