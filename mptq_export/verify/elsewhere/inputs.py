"""What a file is run on in another runtime, one input at a time, and the float model beside it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.evaluate.given import Given
from mptq_export.evaluate.outputs import PredictOutputs, Values
from mptq_export.runtime.graph_input import GraphInput, graph_input
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.inputs.sets import random_inputs

Array = NDArray[Any]


@dataclass(frozen=True)
class Example:
    """One input.

    Attributes:
        x: a batch of one, as the file takes it.
        pixels: (1, height, width, channels) that it was made of; None where it is made up.
    """

    x: Array
    pixels: Pixels | None


FloatSide = Callable[[Example], Values]
"""The float model's outputs for one input, in the order of the file's."""


def of_images(folder: ImageFolder, spec: GraphInput) -> Iterator[Example]:
    """An example an image."""
    normalize = folder.preprocessing.normalize
    for pixels in folder.images():
        yield Example(to_graph_input(pixels[None], spec, normalize), pixels[None])


def made_up(spec: GraphInput, count: int) -> Iterator[Example]:
    """Random examples, the same ones on every call.

    Raises:
        MptqError: the input is of a free shape, or a type without random values.
    """
    return (Example(x, None) for x in random_inputs(spec, count, 1))


def of_model(predict: PredictOutputs) -> FloatSide:
    """A float model that takes pixels."""

    def floating(example: Example) -> Values:
        if example.pixels is None:
            raise MptqError("a float checkpoint is compared on images; give --images, or the float model's ONNX file")
        return predict(example.pixels)

    return floating


def of_onnx(path: Path, given: Given, metadata: dict[str, str]) -> FloatSide:
    """A float model in an ONNX file of its own, as `mptq-export --float-onnx` writes it.

    Args:
        path: the file.
        given: what the quantized file gives.
        metadata: of the quantized file.

    Raises:
        MptqError: it cannot be opened, or gives something else than the quantized file.
    """
    session = open_session(path)
    spec = graph_input(session)
    own = [entry.name for entry in session.get_outputs()]
    wanted = [each.name for each in given.outputs]
    names = wanted if set(wanted) <= set(own) else own
    if len(names) != len(wanted):
        raise MptqError(
            f"{path} gives {', '.join(own)}, the quantized file {', '.join(wanted)}: they are not the same model; name "
            "the float companion of this file"
        )

    def floating(example: Example) -> Values:
        found = run_session(session, names, {spec.name: _float_input(example, spec, metadata)})
        return [found[name] for name in names]

    return floating


def _float_input(example: Example, spec: GraphInput, metadata: dict[str, str]) -> Array:
    """What the float file takes: its own normalisation of the pixels, or the same made-up input."""
    if example.pixels is None:
        return spec.convert(example.x)
    normalize: Normalize = Preprocessing.from_metadata(metadata).normalize
    return to_graph_input(example.pixels, spec, normalize)
