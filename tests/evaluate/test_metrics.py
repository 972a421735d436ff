import numpy as np
import pytest

from mptq_export.evaluate.metrics import (
    agreement,
    divergences,
    mean_interval,
    mean_kl,
    ratio_interval,
    share_interval,
    share_text,
    share_within,
    top_k,
)

LOGITS = np.array([[3.0, 2.0, 1.0], [0.0, 5.0, 4.0], [1.0, 2.0, 9.0], [7.0, 0.0, 0.0]], np.float32)
LABELS = np.array([0, 2, 0, 2])


@pytest.mark.parametrize(("k", "share"), [(1, 0.25), (2, 0.5), (3, 1.0)])
def test_top_k(k: int, share: float):
    assert top_k(LOGITS, LABELS, k) == share


def test_ties_do_not_flatter():
    constant = np.zeros((4, 4), np.float32)
    assert top_k(constant, np.arange(4), 1) == 0.25
    assert top_k(constant, np.arange(4), 2) == 0.5


def test_nan_logits_are_wrong():
    assert top_k(np.full((2, 3), np.nan, np.float32), np.array([0, 1]), 3) == 0.0


def test_top_1_is_argmax():
    generator = np.random.default_rng(0)
    logits, labels = generator.integers(0, 4, (200, 10)).astype(np.float32), generator.integers(0, 10, 200)
    assert top_k(logits, labels, 1) == np.mean(logits.argmax(axis=1) == labels)


def test_agreement():
    assert agreement(LOGITS, LOGITS) == 1.0
    assert agreement(LOGITS, LOGITS[:, ::-1]) == 0.25  # only the second image keeps its class


def test_kl_of_known_distributions():
    """KL((1/2, 1/2) || (1/4, 3/4)) = ln 2 - ln 3 / 2."""
    p = np.log(np.array([[0.5, 0.5]]))
    q = np.log(np.array([[0.25, 0.75]])) + 7.0  # a shift of the logits changes nothing
    assert mean_kl(p, q) == pytest.approx(np.log(2) - np.log(3) / 2, abs=1e-12)


def test_kl_is_zero_for_itself_and_stable_for_large_logits():
    assert mean_kl(LOGITS, LOGITS) == 0.0
    assert mean_kl(np.array([[1e4, 0.0]]), np.array([[0.0, 1e4]])) == pytest.approx(1e4)


def test_divergences_are_those_of_single_images():
    p, q = np.array([[1.0, 2.0, 0.5], [0.0, 3.0, -1.0]]), np.array([[0.5, 2.0, 1.0], [0.0, 2.5, -1.0]])
    found = divergences(p, q)
    assert found == pytest.approx([mean_kl(p[:1], q[:1]), mean_kl(p[1:], q[1:])])
    assert mean_kl(p, q) == pytest.approx(found.mean())


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).exponential(size=400)
    low, high = mean_interval(values)
    error = values.std() / 20  # of the mean of 400
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert mean_interval(values) == (low, high)
    assert mean_interval(np.array([0.25])) == (0.25, 0.25)


def test_what_two_files_share_cancels_in_their_ratio():
    base = np.random.default_rng(2).exponential(size=400)
    assert ratio_interval(base, base) == (1.0, 1.0)
    assert ratio_interval(3 * base, base) == pytest.approx((3.0, 3.0))
    other = np.random.default_rng(3).exponential(size=400)
    low, high = ratio_interval(other, base)
    assert low < other.mean() / base.mean() < high
    assert 0.2 < high - low < 0.4  # each mean has an error of a twentieth


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 1 - 0.1170, 1.0),
    ],
)
def test_the_interval_of_a_share(hits: int, count: int, low: float, high: float):
    found = share_interval(hits, count)
    assert found == pytest.approx((low, high), abs=5e-5)
    assert found[0] <= hits / count <= found[1]


def test_a_share_of_few_images_is_a_count():
    assert (share_text(15 / 16, 16), share_text(1.0, 99), share_text(93 / 100, 100)) == (
        "15 of 16",
        "99 of 99",
        "93.00%",
    )
    assert share_within(15 / 16, 16) == "95%: 71.7% to 98.9%"
