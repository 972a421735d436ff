"""Feature maps, tokens and other values of a file beside those of its float model: how much of the signal is left."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.recipe.outputs import Output, OutputKind


@dataclass(frozen=True)
class DenseReport:
    """One output over all images.

    Attributes:
        output: name of the ONNX output.
        kind: of it.
        shape: for one image.
        sqnr_db: squares of the float values by squares of the error, in dB; None where there is no error, or no float
            model.
        cosine: mean cosine of the two channel vectors of a position or token, of other kinds of all that an image has;
            None without a float model.
        agreement: of the candidates in which the float model sees an object, the share for which both name the same
            class: of `scores` one of several classes above a half, of `choices` any but the last, "no object". None
            where there are none, and for other kinds.
    """

    output: str
    kind: OutputKind
    shape: tuple[int, ...]
    sqnr_db: float | None
    cosine: float | None
    agreement: float | None = None


class DenseSums:
    """What is summed of one output, batch by batch."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._shape: tuple[int, ...] = ()
        self._signal = self._noise = self._cosines = 0.0
        self._vectors = self._objects = self._alike = 0

    def add(self, found: NDArray[np.float32], exact: NDArray[np.float32] | None) -> None:
        """Take one batch into account.

        Args:
            found: (images, ...) of the file.
            exact: of the float model, of the same shape; None without one.
        """
        self._shape = tuple(map(int, found.shape[1:]))
        if exact is None:
            return
        a, b = exact.astype(np.float64), found.astype(np.float64)
        self._signal += float(np.square(a).sum())
        self._noise += float(np.square(a - b).sum())
        seen = _objects(a, self._output.kind)
        if seen is not None:
            self._objects += int(seen.sum())
            self._alike += int((a.argmax(-1) == b.argmax(-1))[seen].sum())
        a, b = (_vectors(x, self._output.kind) for x in (a, b))
        lengths = np.sqrt(np.square(a).sum(-1) * np.square(b).sum(-1))
        self._cosines += float((np.sum(a * b, -1) / np.maximum(lengths, np.finfo(np.float64).tiny)).sum())
        self._vectors += lengths.size

    def report(self) -> DenseReport:
        """What was found."""
        known = self._signal > 0 and self._noise > 0
        return DenseReport(
            self._output.name,
            self._output.kind,
            self._shape,
            float(10 * np.log10(self._signal / self._noise)) if known else None,
            min(self._cosines / self._vectors, 1.0) if self._vectors else None,
            self._alike / self._objects if self._objects else None,
        )


def _objects(exact: NDArray[np.float64], kind: OutputKind) -> NDArray[np.bool_] | None:
    """In which candidates the float model sees an object; None where that is no question."""
    classes = exact.shape[-1]
    if kind == "choices":
        seen: NDArray[np.bool_] = exact.argmax(-1) < classes - 1
        return seen
    return exact.max(-1) > 0 if kind == "scores" and exact.ndim == 3 and classes > 1 else None


def _vectors(values: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:
    """What has a direction: the channels of a position or a token, else all values of an image."""
    if kind == "map":
        return np.moveaxis(values, 1, -1)
    return values if kind == "tokens" else values.reshape(len(values), -1)
