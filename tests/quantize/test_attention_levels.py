"""Attention codes of few bits: levels that keep small weights beside a large one, and any scale of a row's maximum."""

import pytest
import torch

from mptq_export.quantize.activations.attention_levels import WIDEST, best_levels, drawn_rows, largest_step
from mptq_export.quantize.simulation.fake_quantize import steps
from mptq_export.recipe.schema import ActivationQuant


def attention(peak: float) -> torch.Tensor:
    """Rows with one score above 200 that are alike: float32 [100, 200], `exp(score - maximum)`."""
    scores = torch.randn(100, 200, generator=torch.Generator().manual_seed(0))
    scores[:, 7] += peak
    return (scores - scores.amax(-1, keepdim=True)).exp()


def plain(bits: int) -> ActivationQuant:
    return ActivationQuant(1 / (2**bits - 1), 0, 0, 2**bits - 1, bits, "plain")


def error(rows: torch.Tensor, quant: ActivationQuant) -> float:
    """Squared error of the weights, divided by their sums."""
    codes, exact = steps(rows, quant).double(), rows.double()
    return float((codes / codes.sum(-1, keepdim=True) - exact / exact.sum(-1, keepdim=True)).square().sum())


@pytest.mark.parametrize("bits", [2, 3, 4, 5, WIDEST])
def test_small_weights_beside_a_large_one_are_kept(bits: int):
    rows = attention(4.0)
    best = best_levels(rows, bits, "plain")[0]
    assert best.levels == 2**bits
    assert best.zero_point == 0
    assert best.high <= 127
    assert error(rows, best) < 0.6 * error(rows, plain(bits))
    assert steps(rows, best).amax(-1).min() == best.high  # a row's maximum has the top code


def test_weights_on_equal_steps_keep_them():
    rows = torch.randint(8, (100, 40), generator=torch.Generator().manual_seed(0)).float() / 7
    rows[:, 0] = 1.0
    best = best_levels(rows, 3, "plain")[0]
    assert (best.regions, best.scale, best.reason) == ((), plain(3).scale, "plain")


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_scores_reach_as_deep_as_the_finest_level(bits: int):
    assert all(1 / quant.scale <= largest_step(bits) for quant in best_levels(attention(4.0), bits, ""))


def test_what_is_clamped_far_below_the_maximum_has_code_0():
    # ScoreConstants.codes clamps at a quarter of the maximum by the largest code.
    for quant in best_levels(attention(4.0), 3, ""):
        assert 1 / (4 * quant.high) / quant.scale < 0.499


def test_rows_are_drawn_from_all_images():
    value = torch.arange(8 * 3 * 1000, dtype=torch.float32).reshape(8, 3, 1000, 1)
    rows = drawn_rows(value)
    assert len(rows) == len(rows.unique()) == 1024
    assert {int(row) // 3000 for row in rows} == set(range(8))
