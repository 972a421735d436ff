"""Everything that a file gives beside its float model: each output as its kind is compared."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.evaluate.dense import DenseReport, DenseSums
from mptq_export.evaluate.embeddings import EmbeddingReport, judge_embedding
from mptq_export.evaluate.logits import EvalReport, judge_logits
from mptq_export.evaluate.metrics import Labels
from mptq_export.recipe.outputs import Output
from mptq_export.runtime.any_batch import run_any
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import Json

Values = list[NDArray[np.float32]]
"""(images, ...), one an output."""

PredictOutputs = Callable[[Pixels], Values]

Groups = Callable[[], Labels | None]

OutputReport = EvalReport | EmbeddingReport | DenseReport

HELD = ("logits", "embedding")
"""Kinds of which all images are held: (images, classes or channels)."""


@dataclass(frozen=True)
class OutputsReport:
    """All outputs of a file on one folder of images.

    Attributes:
        images: how many there are.
        outputs: in the order of the file.
    """

    images: int
    outputs: tuple[OutputReport, ...]

    @property
    def logits(self) -> EvalReport | None:
        """The classifier that it is: its only output, or None."""
        first = self.outputs[0]
        return first if len(self.outputs) == 1 and isinstance(first, EvalReport) else None

    @property
    def classes(self) -> int | None:
        """How many classes its logits have."""
        return next((each.classes for each in self.outputs if isinstance(each, EvalReport)), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, a sentence each."""
        return tuple(told for each in self.outputs if isinstance(each, EvalReport) for told in each.warnings)

    def to_json(self) -> dict[str, Json]:
        """The report as plain JSON values: of a classifier its own, else a list of outputs."""
        if self.logits is not None:
            return self.logits.to_json()
        return {"images": self.images, "outputs": [asdict(each) for each in self.outputs]}


def onnx_outputs(session: ort.InferenceSession, names: Sequence[str], normalize: Normalize) -> PredictOutputs:
    """The session as a function from pixels to its outputs.

    Raises:
        MptqError: the session lacks an output that its metadata names, or has several inputs.
    """
    spec = graph_input(session)
    missing = sorted(set(names) - {entry.name for entry in session.get_outputs()})
    if missing:
        raise MptqError(f"the file has no output {missing[0]}, which its metadata names; export it again")

    def predict(pixels: Pixels) -> Values:
        found = run_any(session, names, spec, to_graph_input(pixels, spec, normalize))
        for name, values in found.items():
            if values.shape[:1] != (len(pixels),):
                raise MptqError(
                    f"output {name} has shape {list(values.shape)} for {len(pixels)} images, not a row each; name a "
                    "file whose outputs have the batch first"
                )
        return [found[name] for name in names]

    return predict


def evaluate_outputs(
    batches: Iterable[Pixels],
    given: Sequence[Output],
    quantised: PredictOutputs,
    floating: PredictOutputs | None = None,
    *,
    labels: Labels | None = None,
    groups: Groups = lambda: None,
) -> OutputsReport:
    """Run both on the same pixels and measure.

    Args:
        batches: the images.
        given: what both give.
        quantised: the file.
        floating: the float model, if it is at hand.
        labels: as in `compare_outputs`.
        groups: as in `compare_outputs`.

    Raises:
        MptqError: as `compare_outputs`.
    """
    pairs = ((quantised(pixels), None if floating is None else floating(pixels)) for pixels in batches)
    return compare_outputs(pairs, given, labels=labels, groups=groups)


def compare_outputs(
    batches: Iterable[tuple[Values, Values | None]],
    given: Sequence[Output],
    *,
    labels: Labels | None = None,
    groups: Groups = lambda: None,
) -> OutputsReport:
    """Measure what was computed.

    Args:
        batches: of the file, and of the float model if it is at hand.
        given: what both give.
        labels: number of the logit of each image over all batches; None where the images have none.
        groups: gives the class of each image by any number, for embeddings, once all were read; None where they have
            none.

    Raises:
        MptqError: there are no images, an output has another shape than the float model's or than its kind, or a label
            has no logit.
    """
    images = 0
    collected = [_Collected(output) for output in given]
    for found, exact in batches:
        images += len(found[0])
        if exact is not None and len(exact) != len(found):
            raise MptqError(
                f"the float model gives {len(exact)} outputs, the ONNX file {len(found)}: they are not the same model; "
                "name the checkpoint that was exported"
            )
        for place, each in enumerate(collected):
            each.add(found[place], None if exact is None else exact[place])
    if not images:
        raise MptqError("there are no images to evaluate; name a folder that holds some with --data")
    return OutputsReport(images, tuple(each.report(labels, groups()) for each in collected))


class _Collected:
    """One output over all batches: every row of it, or sums."""

    def __init__(self, output: Output) -> None:
        self._output, self._sums = output, DenseSums(output)
        self._found: Values = []
        self._exact: Values = []

    def add(self, found: NDArray[np.float32], exact: NDArray[np.float32] | None) -> None:
        _check_shapes(self._output, found, exact)
        if self._output.kind not in HELD:
            self._sums.add(found, exact)
            return
        self._found.append(found)
        if exact is not None:
            self._exact.append(exact)

    def report(self, labels: Labels | None, groups: Labels | None) -> OutputReport:
        if self._output.kind not in HELD:
            return self._sums.report()
        found, exact = np.concatenate(self._found), np.concatenate(self._exact) if self._exact else None
        if self._output.kind == "logits":
            return judge_logits(found, exact, labels, self._output.name)
        return judge_embedding(self._output.name, found, exact, groups)


def _check_shapes(output: Output, found: NDArray[np.float32], exact: NDArray[np.float32] | None) -> None:
    """Refuse an output that is not what it should be.

    Raises:
        MptqError: it is no row an image where it must be, not floats, or has another shape than the float model's.
    """
    if (output.kind in HELD and found.ndim != 2) or not np.issubdtype(found.dtype, np.floating):
        rows = "one row of logits an image; name a classifier" if output.kind == "logits" else "a vector an image"
        raise MptqError(f"output {output.name} is {found.dtype} of shape {list(found.shape)}, not {rows}")
    if exact is not None and exact.shape != found.shape:
        raise MptqError(
            f"{output.name} is {list(found.shape)} in the ONNX file and {list(exact.shape)} in the float model: they "
            "are not the same model; name the checkpoint that was exported"
        )
