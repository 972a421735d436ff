"""A histogram of all values, weighted by rows and columns."""

import numpy as np
import pytest
import torch

from mptq_export.quantize.activations.histogram import Histogram


def value_and_weights(rows: int = 700) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """float32 [rows / 7, 7, 6] with a tail, columns [6] and importance [rows]."""
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(rows // 7, 7, 6, generator=generator) ** 3 + 0.5
    return value, torch.rand(6, generator=generator), torch.rand(rows, generator=generator)


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("by_row", [False, True])
def test_it_is_the_weighted_histogram_of_numpy(by_column: bool, by_row: bool):
    value, columns, importance = value_and_weights()
    found = Histogram.of(value, columns if by_column else None, importance if by_row else None)
    flat = value.reshape(-1, 6).double().numpy()
    rows = importance.double().numpy() if by_row else np.ones(len(flat))
    weights = np.outer(rows, columns.double().numpy() if by_column else np.ones(6))
    bins = len(found.counts)
    counts, edges = np.histogram(flat, bins, (flat.min(), flat.max()), weights=weights)
    assert (found.low, found.high) == (flat.min(), flat.max())
    np.testing.assert_allclose(found.values, (edges[1:] + edges[:-1]) / 2, rtol=0, atol=1e-6 * np.ptp(flat))
    assert found.counts.sum() == pytest.approx(weights.sum(), rel=1e-5)
    # float32 positions: a value beside an edge may be counted in the neighbouring bin.
    gap = np.cumsum(found.counts - counts)
    assert np.abs(gap).max() <= 2
    assert (np.abs(gap) > 1e-3).mean() < 0.01


def test_pieces_are_counted_as_one():
    value, columns, importance = value_and_weights()
    whole = Histogram.of(value, columns, importance)
    pieces = Histogram.of(value, columns, importance, chunk=6 * 13)
    np.testing.assert_allclose(pieces.counts, whole.counts, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(pieces.values, whole.values)


@pytest.mark.parametrize("constant", [0.0, 0.3, -8.0, 1e30])
def test_a_constant_is_one_bin(constant: float):
    found = Histogram.of(torch.full((20, 10), constant))
    assert found.low == found.high == float(np.float32(constant))
    assert found.counts.sum() == 200
    assert np.count_nonzero(found.counts) == 1
    assert np.isfinite(found.values).all()
    assert found.values[found.counts > 0][0] == pytest.approx(found.low, rel=1e-6)


def test_the_smallest_and_the_largest_value_are_in_the_outer_bins():
    found = Histogram.of(torch.tensor([[-1.0, 0.25], [3.0, 0.25]]))
    assert found.counts[0] == found.counts[-1] == 1
    assert found.counts.sum() == 4
    assert (np.diff(found.values) > 0).all()
    assert found.low < found.values[0] < found.values[-1] < found.high


def test_rows_and_columns_without_weight_do_not_count():
    value = torch.arange(12.0).reshape(4, 3)
    found = Histogram.of(value, torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    assert (found.low, found.high) == (0.0, 11.0)  # the range is that of all
    near = np.rint(found.values).astype(int)
    counts = np.bincount(near, weights=found.counts, minlength=12)
    np.testing.assert_array_equal(counts, [0, 0, 0, 1, 0, 2, 1, 0, 2, 0, 0, 0])
