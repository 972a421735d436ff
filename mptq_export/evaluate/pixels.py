"""From a folder of images to the graph's input, by the preprocessing that the file carries."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.errors import MptqError
from mptq_export.verify.session import GraphInput, metadata_of


def preprocessing_of(model: onnx.ModelProto, path: Path) -> Preprocessing:
    """The preprocessing that the file carries.

    Raises:
        MptqError: it carries none, as a file that mptq-export did not write.
    """
    return Preprocessing.from_metadata(metadata_of(model))


def to_graph_input(pixels: NDArray[np.uint8], spec: GraphInput, preprocessing: Preprocessing) -> NDArray[Any]:
    """What the graph takes for these pixels.

    Args:
        pixels: (images, height, width, 3) uint8.
        spec: the graph's input: uint8 takes the pixels as they are, float32 takes them normalised.
        preprocessing: mean and standard deviation, and the layout (images, 3, height, width).

    Raises:
        MptqError: the input is of another type, or its shape is not that of the pixels.
    """
    if spec.dtype not in {"uint8", "float32"}:
        raise MptqError(f"input {spec.name} is {spec.dtype}: images need a float32 or uint8 input")
    array: NDArray[Any] = pixels if spec.dtype == "uint8" else preprocessing.normalize(pixels)
    fits = len(spec.shape) == array.ndim and all(
        not isinstance(size, int) or size == got for size, got in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise MptqError(
            f"input {spec.name} has shape {list(spec.shape)}, but the preprocessing gives {list(array.shape)}: "
            "the file's metadata does not belong to its graph; export it again"
        )
    return array


def image_inputs(
    folder: ImageFolder, spec: GraphInput, preprocessing: Preprocessing, batch: int
) -> Iterator[NDArray[Any]]:
    """The folder's images as batches of the graph's input."""
    for pixels in folder.batches(batch):
        yield to_graph_input(pixels, spec, preprocessing)
