"""From the pixels of images to what a graph takes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.support.errors import MptqError
from mptq_export.verify.session import GraphInput

Pixels = NDArray[np.uint8]
"""(images, height, width, 3) codes of red, green, blue."""

Normalize = Callable[[Pixels], NDArray[np.float32]]
"""Pixels in, (images, 3, height, width) float32 out: `Preprocessing.normalize`."""


def to_graph_input(pixels: Pixels, spec: GraphInput, normalize: Normalize) -> NDArray[Any]:
    """What the graph takes for these pixels.

    Args:
        pixels: the images.
        spec: the graph's input: uint8 takes the pixels as they are, float32 takes them normalised.
        normalize: the normalisation that belongs to the file.

    Raises:
        MptqError: the input is of another type, or its shape is not that of the pixels.
    """
    if spec.dtype not in {"uint8", "float32"}:
        raise MptqError(f"input {spec.name} is {spec.dtype}: images need a float32 or uint8 input")
    array: NDArray[Any] = pixels if spec.dtype == "uint8" else normalize(pixels)
    fits = len(spec.shape) == array.ndim and all(
        not isinstance(size, int) or size == got for size, got in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise MptqError(
            f"input {spec.name} has shape {list(spec.shape)}, but the preprocessing gives {list(array.shape)}: "
            "the file's metadata does not belong to its graph; export it again"
        )
    return array
