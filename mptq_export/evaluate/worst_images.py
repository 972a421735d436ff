"""The images on which a classifier fares worst: what is worth looking at first."""

import base64
import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.images import ImageFolder
from mptq_export.evaluate.metrics import Labels, Logits

#: How many are kept.
MOST = 12

#: Longest side of their pictures, in pixels.
_SIDE = 72


@dataclass(frozen=True)
class WorstImage:
    """One image.

    Attributes:
        index: among all images, in order.
        distance: KL(float || file) of its softmax in nats; without a float model the cross-entropy of its label.
        says: number of the class that the file names.
        float_says: what the float model names; None without one.
        label: number of its own class; None where it has none.
        file: its path below the folder.
        names: of the three classes, in the same order; empty where there is none.
        picture: what the model saw, small, as a data URI.
    """

    index: int
    distance: float
    says: int
    float_says: int | None
    label: int | None
    file: str = ""
    names: tuple[str, str, str] = ("", "", "")
    picture: str = ""


def worst_images(
    logits: Logits, float_logits: Logits | None, labels: Labels | None, divergences: NDArray[np.float64] | None
) -> tuple[WorstImage, ...]:
    """The `MOST` worst images: first those with another class than the float model's, then by their distance.

    None where there is nothing to compare with.

    Args:
        logits: (images, classes) of the file.
        float_logits: of the float model; None without one.
        labels: (images,) class indices; None where there are none.
        divergences: (images,) KL divergences from the float model; None without one.
    """
    if divergences is None and labels is None:
        return ()
    if divergences is None:
        assert labels is not None
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        divergences = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    says, beside = logits.argmax(1), None if float_logits is None else float_logits.argmax(1)
    order = np.argsort(-divergences, kind="stable")
    if beside is not None:
        order = order[np.argsort((says == beside)[order], kind="stable")]
    return tuple(
        WorstImage(
            int(index),
            float(divergences[index]),
            int(says[index]),
            None if beside is None else int(beside[index]),
            None if labels is None else int(labels[index]),
        )
        for index in order[:MOST]
    )


def with_pictures(found: tuple[WorstImage, ...], folder: ImageFolder, names: dict[int, str]) -> tuple[WorstImage, ...]:
    """The same with their files, their classes by name, and what the model saw.

    Args:
        found: images of a folder.
        folder: after all of its images were read.
        names: of the classes, by number.
    """

    def named(number: int | None) -> str:
        return "" if number is None else names.get(number, str(number))

    return tuple(
        replace(
            each,
            file=folder.files[each.index].relative_to(folder.path).as_posix(),
            names=(named(each.says), named(each.float_says), named(each.label)),
            picture=_picture(folder, each.index),
        )
        for each in found
    )


def _picture(folder: ImageFolder, index: int) -> str:
    pixels = next(folder.images(index))
    image = Image.fromarray(pixels if pixels.shape[-1] > 1 else pixels[..., 0])
    image.thumbnail((_SIDE, _SIDE))
    held = io.BytesIO()
    image.save(held, "JPEG", quality=70, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode('ascii')}"
