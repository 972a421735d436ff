"""Accuracy metrics of logits, as plain NumPy functions."""

from collections.abc import Callable, Iterator
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

_PERCENT = 100
"""From so many images on a percent is an image or more."""
_DRAWS = 2000
_AT_ONCE = 100
"""Draws of the bootstrap that are in memory together: 40 MB for 50,000 images."""
_Z95 = 1.959963984540054
"""The normal distribution has 95 % of its mass within so many standard deviations."""


def top_k(logits: Logits, labels: Labels, k: int) -> float:
    """Share of the images whose label is among the `k` largest logits: the mean of `in_top_k`."""
    return float(np.mean(in_top_k(logits, labels, k)))


def in_top_k(logits: Logits, labels: Labels, k: int) -> NDArray[np.bool_]:
    """Whether the label of every image is among its `k` largest logits: (images,).

    Equal logits rank by class index, as argmax does, so that ties cannot flatter: `k` = 1 is argmax. An image
    with a NaN among its logits counts as wrong.

    Args:
        logits: (images, classes).
        labels: (images,) class indices.
        k: number of guesses, at least 1.
    """
    rows = np.arange(len(labels))
    own = logits[rows, labels][:, None]
    earlier = np.arange(logits.shape[1])[None, :] < labels[:, None]
    rank = np.sum((logits > own) | ((logits == own) & earlier), axis=1)
    found: NDArray[np.bool_] = (rank < k) & ~np.isnan(logits).any(axis=1)
    return found


def agreement(first: Logits, second: Logits) -> float:
    """Share of the images for which both (images, classes) logits name the same class."""
    return float(np.mean(first.argmax(axis=1) == second.argmax(axis=1)))


def divergences(reference: Logits, approximation: Logits) -> NDArray[np.float64]:
    """Kullback-Leibler divergence KL(reference || approximation) of the softmax of every image, in nats: (images,).

    Args:
        reference: (images, classes) logits of the float model.
        approximation: (images, classes) logits of the quantised model.
    """
    log_p, log_q = _log_softmax(reference), _log_softmax(approximation)
    found: NDArray[np.float64] = np.sum(np.exp(log_p) * (log_p - log_q), axis=1)
    return found


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    return found


def mean_kl(reference: Logits, approximation: Logits) -> float:
    """The mean of `divergences`."""
    return float(divergences(reference, approximation).mean())


def cosines(reference: NDArray[np.floating[Any]], approximation: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Cosine of the two vectors of every image: (images,). Vectors of zeros are like each other and like no other.

    Args:
        reference: (images, channels) of the float model.
        approximation: (images, channels) of the quantised model.
    """
    a, b = reference.astype(np.float64), approximation.astype(np.float64)
    lengths = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    alike = (a == b).all(1)
    found: NDArray[np.float64] = np.where(alike, 1.0, (a * b).sum(1) / np.where(lengths > 0, lengths, 1))
    return np.clip(found, -1, 1)


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Between which bounds the mean lies in 95 % of 2,000 draws of as many images, with replacement.

    This is the percentile bootstrap (Efron 1979), seeded. It says how much of a difference between two files other
    images may turn around; a few undecided images often hold most of a divergence.

    Args:
        values: (images,).
    """
    return _percentiles([values[drawn].mean(axis=1) for drawn in _draws(len(values))])


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """Between which bounds the share lies that `hits` of `count` images were drawn from, at 95 %.

    The score interval of Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 1927): it
    stays honest where all images agree, as a bootstrap would not.

    Args:
        hits: 0 to `count`.
        count: at least 1.
    """
    share, square = hits / count, _Z95 * _Z95 / count
    middle = share + square / 2
    reach = _Z95 * sqrt((share * (1 - share) + square / 4) / count)
    # At either end the bound is that end, which rounding would miss.
    low = 0.0 if hits == 0 else (middle - reach) / (1 + square)
    return low, 1.0 if hits == count else (middle + reach) / (1 + square)


def share_text(share: float, count: int) -> str:
    """A share of images for people: `15 of 16` where one image is more than a percent, else `93.81%`."""
    return f"{round(share * count)} of {count}" if count < _PERCENT else f"{share:.2%}"


def share_within(share: float, count: int) -> str:
    """The 95 % interval of a share of images for people, as `95%: 71.7% to 98.9%`."""
    low, high = share_interval(round(share * count), count)
    return f"95%: {low:.1%} to {high:.1%}"


def ratio_interval(values: NDArray[np.float64], base: NDArray[np.float64]) -> tuple[float, float]:
    """The same for the ratio of two means on the same images: each draw is of both, so that what they share cancels.

    Args:
        values: (images,).
        base: (images,), what they are compared with.
    """
    return _percentiles([values[drawn].mean(axis=1) / base[drawn].mean(axis=1) for drawn in _draws(len(values))])


def over_draws(pictures: int, statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    """A statistic that is no mean over images, as average precision, of the 2,000 draws of images: (draws,).

    The draws are the same for every statistic of as many images, so that of two statistics the differences are paired.

    Args:
        pictures: how many images there are.
        statistic: of (draws, images), how often each image was drawn, gives (draws,); NaN without one.
    """
    found = []
    for drawn in _draws(pictures):
        places = drawn + pictures * np.arange(len(drawn))[:, None]
        counts = np.bincount(places.reshape(-1), minlength=drawn.size).reshape(drawn.shape)
        found.append(statistic(counts.astype(np.float64)))
    return np.concatenate(found)


def draws_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Between which bounds 95 % of the draws lie that have the statistic; None where none has it.

    Args:
        values: of `over_draws`.
    """
    known = values[~np.isnan(values)]
    return _percentiles([known]) if len(known) else None


def _draws(images: int) -> Iterator[NDArray[np.int64]]:
    """The images of 2,000 draws with replacement, the same ones for as many images: (draws, images), some at a time."""
    generator = np.random.default_rng(0)
    for start in range(0, _DRAWS, _AT_ONCE):
        yield generator.integers(0, images, (min(_AT_ONCE, _DRAWS - start), images))


def _percentiles(parts: list[NDArray[np.float64]]) -> tuple[float, float]:
    low, high = np.percentile(np.concatenate(parts), (2.5, 97.5))
    return float(low), float(high)
