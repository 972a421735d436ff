"""How much of an encoder is left: direction and neighbours beside the float model's, and the classes that they name."""

from dataclasses import dataclass

import numpy as np

from mptq_export.evaluate.metrics import Labels, cosines, mean_interval
from mptq_export.evaluate.neighbours import MANY, Embeddings, Neighbours, knn_accuracy, neighbours
from mptq_export.recipe.outputs import OutputKind


@dataclass(frozen=True)
class Closeness:
    """Embeddings beside those of the float model, over all images.

    Attributes:
        cosine: mean cosine of the two embeddings of an image.
        cosine_interval: of it, at 95 % (see `metrics.mean_interval`).
        lowest_cosine: of the image that differs most.
        neighbours: which images lie next to each other; None for fewer than three.
    """

    cosine: float
    cosine_interval: tuple[float, float]
    lowest_cosine: float
    neighbours: Neighbours | None


@dataclass(frozen=True)
class KnnAccuracy:
    """Share of the images whose class their nearest neighbours name, each image left out in turn.

    Attributes:
        nearest: by the nearest one.
        ten: by the majority of the ten nearest; None with fewer than twelve images.
    """

    nearest: float
    ten: float | None


@dataclass(frozen=True)
class EmbeddingReport:
    """One embedding of a file on one folder of images.

    Attributes:
        output: name of the ONNX output.
        kind: `embedding`.
        channels: its size.
        beside_float: None without a float model.
        quantised: k-NN accuracy of the file; None where the images have no classes.
        floating: that of the float model; None without one.
    """

    output: str
    kind: OutputKind
    channels: int
    beside_float: Closeness | None
    quantised: KnnAccuracy | None
    floating: KnnAccuracy | None


def judge_embedding(output: str, found: Embeddings, exact: Embeddings | None, labels: Labels | None) -> EmbeddingReport:
    """Measure one embedding of all images.

    Args:
        output: its name.
        found: (images, channels) of the file.
        exact: of the float model; None without one.
        labels: class of every image; None where they have none.
    """
    return EmbeddingReport(
        output,
        "embedding",
        found.shape[1],
        None if exact is None else closeness(exact, found),
        _knn(found, labels),
        None if exact is None else _knn(exact, labels),
    )


def closeness(exact: Embeddings, found: Embeddings) -> Closeness:
    """Embeddings (images, channels) of the file beside those of the float model."""
    alike = cosines(exact, found)
    return Closeness(float(alike.mean()), mean_interval(alike), float(alike.min()), neighbours(exact, found))


def _knn(embeddings: Embeddings, labels: Labels | None) -> KnnAccuracy | None:
    if labels is None or len(np.unique(labels)) < 2:
        return None
    many = len(labels) > MANY + 1
    return KnnAccuracy(knn_accuracy(embeddings, labels, 1), knn_accuracy(embeddings, labels, MANY) if many else None)
