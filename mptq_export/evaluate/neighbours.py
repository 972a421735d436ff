"""Nearest neighbours among images by the cosine of their embeddings: how many stay, and how well they classify.

Users of an encoder retrieve and compare images, so what counts is not the embedding itself but which images lie next to
each other. An image is never its own neighbour.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.metrics import Labels, mean_interval, share_interval

Embeddings = NDArray[np.floating]
Indices = NDArray[np.intp]

MANY = 10
"""Neighbours of the larger of both figures."""

_AT_ONCE = 256
"""Images whose similarities to all others are in memory together: 100 MB for 50,000 images."""
_DIGITS = 9
"""Similarities that are equal in so many decimals are equal: those of copies of an image, which float sums may tell
apart."""


@dataclass(frozen=True)
class Neighbours:
    """How far two embeddings of the same images agree on which images lie next to each other.

    Attributes:
        nearest: share of the images whose nearest neighbour is the same image.
        nearest_interval: of it, at 95 % (see `metrics.share_interval`).
        ten: mean share of the ten nearest that are among the other's ten nearest; None with fewer than twelve images.
        ten_interval: of it, at 95 % (see `metrics.mean_interval`).
    """

    nearest: float
    nearest_interval: tuple[float, float]
    ten: float | None
    ten_interval: tuple[float, float] | None


def unit_rows(embeddings: Embeddings) -> NDArray[np.float64]:
    """(images, channels) divided by their lengths; rows of zeros stay."""
    rows = embeddings.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: NDArray[np.float64] = rows / np.where(lengths > 0, lengths, 1)
    return found


def nearest(embeddings: Embeddings, k: int) -> Indices:
    """The `k` images that are most similar to every image, the nearest first: (images, k).

    Of equally similar ones the first counts as nearer, so that copies of an image cannot change places.

    Args:
        embeddings: (images, channels).
        k: at least 1, below the number of images.
    """
    rows = unit_rows(embeddings)
    found = np.empty((len(rows), k), np.intp)
    for start in range(0, len(rows), _AT_ONCE):
        similar = np.round(rows[start : start + _AT_ONCE] @ rows.T, _DIGITS)
        own = np.arange(len(similar))
        similar[own, start + own] = -np.inf
        last = np.partition(similar, -k, axis=1)[:, -k]
        for row, (values, least) in enumerate(zip(similar, last, strict=True)):
            near = np.nonzero(values >= least)[0]
            found[start + row] = near[np.argsort(-values[near], kind="stable")[:k]]
    return found


def neighbours(first: Embeddings, second: Embeddings) -> Neighbours | None:
    """How many neighbours the images of two embeddings share.

    Args:
        first: (images, channels) of the float model.
        second: of the same images, of the quantized one; it may have other channels.

    Returns:
        None for fewer than three images, which have no choice.
    """
    count = len(first)
    if count < 3:
        return None
    k = MANY if count > MANY + 1 else 1
    a, b = nearest(first, k), nearest(second, k)
    same = int((a[:, 0] == b[:, 0]).sum())
    found = Neighbours(same / count, share_interval(same, count), None, None)
    if k == 1:
        return found
    shared = (a[:, :, None] == b[:, None, :]).any(2).mean(1)
    return Neighbours(found.nearest, found.nearest_interval, float(shared.mean()), mean_interval(shared))


def knn_accuracy(embeddings: Embeddings, labels: Labels, k: int) -> float:
    """Share of the images that the majority of their `k` nearest names rightly, each image left out in turn.

    Of equally many votes those count whose nearest image is nearer.

    Args:
        embeddings: (images, channels).
        labels: (images,) class of every image.
        k: how many vote; below the number of images.
    """
    votes = labels[nearest(embeddings, k)]
    named = [Counter(row).most_common(1)[0][0] for row in votes.tolist()]
    return float(np.mean(np.array(named) == labels))
