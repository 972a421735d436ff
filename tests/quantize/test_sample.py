"""A sample stands for all rows: outliers are in it, and its counts are theirs."""

import pytest
import torch

from mptq_export.quantize.activations.sample import Sample, draw_rows

MANY = 6000


def numbered(count: int, width: int = 5) -> torch.Tensor:
    """Rows that can be told apart: small noise, and their number in the last channel, which has no outliers."""
    noise = torch.rand(count, width, generator=torch.Generator().manual_seed(0)) - 0.5
    noise[:, -1] = torch.linspace(-0.5, 0.5, count)
    return noise


def numbers(rows: torch.Tensor, count: int) -> torch.Tensor:
    return ((rows[:, -1] + 0.5) * (count - 1)).round().long()


def error_of_all(rows: torch.Tensor, gap: torch.Tensor, weight: torch.Tensor) -> float:
    return float(((gap @ weight.T).square().sum(1) * rows).sum())


@pytest.mark.parametrize("shape", [(300, 4), (3, 100, 4), (2048, 4)])
def test_few_rows_are_all_taken(shape: tuple[int, ...]):
    value = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    importance = torch.rand(value[..., 0].numel(), generator=torch.Generator().manual_seed(1))
    sample = Sample.of(value)
    assert torch.equal(sample.rows, value.reshape(-1, 4))
    assert torch.equal(sample.counts, torch.ones(len(sample.rows), dtype=torch.float64))
    assert torch.equal(Sample.of(value, importance).counts, importance.double())


@pytest.mark.parametrize("weighted", [False, True])
def test_counts_add_up_to_the_number_of_rows(weighted: bool):
    importance = torch.rand(MANY, generator=torch.Generator().manual_seed(1)) if weighted else None
    sample = Sample.of(numbered(MANY), importance)
    assert len(sample.rows) == len(sample.counts) < MANY
    assert (sample.counts > 0).all()
    expected = MANY if importance is None else float(importance.sum())
    assert float(sample.counts.sum()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_outliers_are_always_in(weighted: bool):
    value = numbered(MANY)
    outliers = [17, 2222, 5999]
    value[17, 0], value[2222, 1], value[5999, 2] = 40.0, -30.0, 20.0
    # One that is small in itself, but far from all others of its channel.
    value[:, 3] *= 1e-3
    value[4000, 3] = 0.2
    importance = torch.ones(MANY)
    importance[[*outliers, 4000]] = 0.1
    sample = Sample.of(value, importance if weighted else None)
    found = numbers(sample.rows, MANY)
    for row in (*outliers, 4000):
        assert (found == row).sum() == 1  # once, and for itself alone
        assert float(sample.counts[found == row]) == pytest.approx(0.1 if weighted else 1.0)


def test_rows_are_drawn_as_often_as_they_matter():
    value = numbered(MANY)
    importance = torch.full((MANY,), 0.2)
    importance[: MANY // 2] = 1.8
    sample = Sample.of(value, importance)
    first = numbers(sample.rows, MANY) < MANY // 2
    assert float(sample.counts[first].sum()) == pytest.approx(0.9 * MANY, rel=0.05)
    drawn = numbers(draw_rows(value, importance), MANY) < MANY // 2
    assert float(drawn.float().mean()) == pytest.approx(0.9, abs=0.03)


def test_rows_that_do_not_matter_are_not_drawn():
    value = numbered(MANY)
    importance = torch.ones(MANY)
    importance[::2] = 0.0
    assert (numbers(draw_rows(value, importance), MANY) % 2 == 1).all()
    sample = Sample.of(value, importance)
    ignored = numbers(sample.rows, MANY) % 2 == 0
    assert float(sample.counts[ignored].sum()) == 0  # among the extremes, but without weight


def test_the_same_rows_every_time():
    value, importance = numbered(MANY), torch.rand(MANY, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    first, rows = Sample.of(value, importance), draw_rows(value, importance)
    torch.manual_seed(2)
    again = Sample.of(value, importance)
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.counts, again.counts)
    assert torch.equal(rows, draw_rows(value, importance))


@pytest.mark.parametrize("outputs", [3, 20])  # fewer and more outputs than inputs take different ways
def test_the_squared_error_is_that_of_the_product(outputs: int):
    generator = torch.Generator().manual_seed(1)
    weight, gap = torch.randn(outputs, 10, generator=generator), torch.randn(300, 10, generator=generator)
    counts = torch.rand(300, generator=generator)
    expected = error_of_all(counts, gap, weight)
    assert Sample(gap, counts).output_error(weight)(gap) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_of_a_sample_is_about_that_of_all_rows(weighted: bool):
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(MANY, 8, generator=generator)
    value[::500] *= 30  # rare rows that hold most of the error
    weight = torch.randn(6, 8, generator=generator)
    importance = torch.rand(MANY, generator=generator) + 0.1 if weighted else torch.ones(MANY)

    def gap(rows: torch.Tensor) -> torch.Tensor:
        return rows - rows.clamp(-2.0, 2.0)

    sample = Sample.of(value, importance)
    expected = error_of_all(importance, gap(value), weight)
    assert sample.output_error(weight)(gap(sample.rows)) == pytest.approx(expected, rel=0.03)


def test_rows_that_all_count_alike():
    few = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw_rows(few.reshape(4, 25, 3)), few)
    many = draw_rows(numbered(MANY))
    assert many.shape == (2048, 5)
    assert float(numbers(many, MANY).float().mean()) == pytest.approx(MANY / 2, rel=0.05)


@pytest.mark.parametrize("constant", [0.0, -3.0])
def test_constant_rows_are_sampled_too(constant: float):
    sample = Sample.of(torch.full((MANY, 4), constant))
    assert (sample.rows == constant).all()
    assert float(sample.counts.sum()) == pytest.approx(MANY, rel=1e-5)
