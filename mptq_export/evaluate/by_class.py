"""Accuracy of a classifier class by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.metrics import Labels


@dataclass(frozen=True)
class ClassAccuracy:
    """The images of one class.

    Attributes:
        label: number of its logit.
        images: how many there are.
        right: for how many the file names it.
        float_right: for how many the float model does; None where there was none.
        name: of the class; its number where it has none.
    """

    label: int
    images: int
    right: int
    float_right: int | None
    name: str = ""


def accuracy_by_class(
    labels: Labels, right: NDArray[np.bool_], float_right: NDArray[np.bool_] | None
) -> tuple[ClassAccuracy, ...]:
    """Of every class that has images, by its number.

    Args:
        labels: (images,) class indices.
        right: (images,) whether the file names the label.
        float_right: the same of the float model; None where there was none.
    """
    return tuple(
        ClassAccuracy(
            int(label),
            int(own.sum()),
            int(right[own].sum()),
            None if float_right is None else int(float_right[own].sum()),
        )
        for label in np.unique(labels)
        for own in [labels == label]
    )
