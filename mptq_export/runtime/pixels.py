"""From the pixels of images to what a graph takes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.runtime.graph_input import GraphInput
from mptq_export.support.errors import MptqError

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


def file_inputs(batch: NDArray[np.float32], spec: GraphInput, preprocessing: Preprocessing) -> NDArray[Any]:
    """Calibration inputs as a file takes them.

    Args:
        batch: (images, channels, height, width), normalised.
        spec: the file's input: float32 as they are, or uint8 NHWC pixels.
        preprocessing: the model's.
    """
    if spec.dtype != "uint8":
        return batch
    mean, std = (np.array(v, np.float32) for v in (preprocessing.mean, preprocessing.std))
    # Normalised 8-bit pixels give the pixels back; inputs that are none are clipped to them.
    pixels = (batch.transpose(0, 2, 3, 1) * std + mean) * np.float32(255)
    codes: NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return codes
