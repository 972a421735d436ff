"""Outputs of an ONNX file beside those of its float model: how much of the signal is left."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.load.outputs import Output, OutputKind
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.runtime.session import run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import Json

Maps = list[NDArray[np.float32]]
"""(images, ...), one an output."""

PredictMaps = Callable[[Pixels], Maps]


@dataclass(frozen=True)
class MapReport:
    """One output over all images.

    Attributes:
        output: name of the ONNX output.
        shape: of one image.
        sqnr_db: squares of the float output by squares of the error, in dB; None where there is no error.
        cosine: mean cosine of the two channel vectors of a position; of values, of an image.
    """

    output: str
    shape: tuple[int, ...]
    sqnr_db: float | None
    cosine: float


@dataclass(frozen=True)
class MapsReport:
    """All outputs of a file on one folder of images."""

    images: int
    maps: tuple[MapReport, ...]

    def to_json(self) -> dict[str, Json]:
        """The report as plain JSON values."""
        return asdict(self)


def onnx_maps(session: ort.InferenceSession, given: tuple[Output, ...], normalize: Normalize) -> PredictMaps:
    """The session as a function from pixels to what it gives.

    Raises:
        MptqError: the session lacks an output that its metadata names, or has several inputs.
    """
    spec, names = graph_input(session), [each.name for each in given]
    missing = sorted(set(names) - {entry.name for entry in session.get_outputs()})
    if missing:
        raise MptqError(f"the file has no output {missing[0]}, which its metadata names; export it again")

    def predict(pixels: Pixels) -> Maps:
        found = run_session(session, names, {spec.name: to_graph_input(pixels, spec, normalize)})
        return [found[name] for name in names]

    return predict


def compare_maps(
    batches: Iterable[Pixels], given: tuple[Output, ...], quantised: PredictMaps, floating: PredictMaps
) -> MapsReport:
    """Run both on the same pixels and measure.

    Raises:
        MptqError: there are no images, or the outputs have other shapes.
    """
    images = 0
    signal, noise, cosines, positions = (np.zeros(len(given)) for _ in range(4))
    shapes: list[tuple[int, ...]] = []
    for pixels in batches:
        images += len(pixels)
        pairs = list(zip(floating(pixels), quantised(pixels), strict=True))
        shapes = [exact.shape[1:] for exact, _ in pairs]
        for i, (exact, found) in enumerate(pairs):
            if exact.shape != found.shape:
                raise MptqError(
                    f"{given[i].name} is {list(found.shape)} in the ONNX file and {list(exact.shape)} in the float "
                    "model: they are not the same model; name the checkpoint that was exported"
                )
            a, b = exact.astype(np.float64), found.astype(np.float64)
            signal[i] += np.square(a).sum()
            noise[i] += np.square(a - b).sum()
            a, b = (_vectors(x, given[i].kind) for x in (a, b))
            lengths = np.sqrt(np.square(a).sum(-1) * np.square(b).sum(-1))
            cosines[i] += (np.sum(a * b, -1) / np.maximum(lengths, np.finfo(np.float64).tiny)).sum()
            positions[i] += lengths.size
    if not images:
        raise MptqError("there are no images to evaluate; name a folder that holds some with --data")
    return MapsReport(
        images,
        tuple(
            MapReport(
                each.name,
                tuple(map(int, shapes[i])),
                float(10 * np.log10(signal[i] / noise[i])) if signal[i] > 0 and noise[i] > 0 else None,
                float(cosines[i] / positions[i]),
            )
            for i, each in enumerate(given)
        ),
    )


def _vectors(values: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:
    """What has a direction: the channels of a position or a token, an embedding, else all values of an image."""
    if kind == "map":
        return np.moveaxis(values, 1, -1)
    return values.reshape(len(values), -1) if kind == "values" else values
