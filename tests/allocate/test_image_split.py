"""Which images choose quantizers and which measure: never the same ones, where there are two."""

from itertools import pairwise

import pytest

from mptq_export.allocate.image_split import MEASURING, ImageSplit


@pytest.mark.parametrize("count", [2, 3, 7, 64, 127, 128, 129, 1000])
def test_no_image_fits_and_measures(count: int):
    split = ImageSplit.of(count)
    assert sorted([*split.fitting, *split.measuring]) == list(range(count))
    assert 1 <= len(split.measuring) <= MEASURING
    assert len(split.fitting) >= len(split.measuring) - 1  # at most every second one measures


@pytest.mark.parametrize("count", [64, 128, 1000])
def test_those_that_measure_are_spread_over_all(count: int):
    measuring = ImageSplit.of(count).measuring
    assert measuring == sorted(measuring)
    assert {b - a for a, b in pairwise(measuring)} == {max(2, count // MEASURING)}
    assert measuring[-1] >= 0.9 * count - 1


def test_one_image_does_both():
    assert ImageSplit.of(1) == ImageSplit(fitting=[0], measuring=[0])
