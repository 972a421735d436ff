"""Everything that a file gives beside its float model: each output as its kind is compared."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.evaluate.dense import DenseReport, DenseSums
from mptq_export.evaluate.embeddings import EmbeddingReport, judge_embedding
from mptq_export.evaluate.metrics import Labels
from mptq_export.evaluate.run import EvalReport, judge_logits
from mptq_export.recipe.outputs import Output
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.runtime.session import run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import Json

Values = list[NDArray[np.float32]]
"""(images, ...), one an output."""

PredictOutputs = Callable[[Pixels], Values]

OutputReport = EvalReport | EmbeddingReport | DenseReport

_ROWS = ("logits", "embedding")
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
        found = run_session(session, list(names), {spec.name: to_graph_input(pixels, spec, normalize)})
        return [found[name] for name in names]

    return predict


def evaluate_outputs(
    batches: Iterable[Pixels],
    given: Sequence[Output],
    quantised: PredictOutputs,
    floating: PredictOutputs | None = None,
    *,
    labels: Labels | None = None,
    groups: Labels | None = None,
) -> OutputsReport:
    """Run both on the same pixels and measure.

    Args:
        batches: the images.
        given: what both give.
        quantised: the file.
        floating: the float model, if it is at hand.
        labels: number of the logit of each image over all batches; None where the images have none.
        groups: class of each image by any number, for embeddings; None where the images have none.

    Raises:
        MptqError: there are no images, an output has another shape than the float model's or than its kind, or a label
            has no logit.
    """
    images = 0
    rows: list[list[tuple[NDArray[np.float32], ...]]] = [[] for _ in given]
    sums = [DenseSums(output) for output in given]
    for pixels in batches:
        images += len(pixels)
        models = [quantised] if floating is None else [quantised, floating]
        for output, held, summed, parts in zip(given, rows, sums, zip(*(m(pixels) for m in models), strict=True), strict=True):
            _check_shapes(output, parts, len(pixels))
            if output.kind in _ROWS:
                held.append(parts)
            else:
                summed.add(parts[0], parts[1] if len(parts) > 1 else None)
    if not images:
        raise MptqError("there are no images to evaluate; name a folder that holds some with --data")
    reports: list[OutputReport] = []
    for output, held, summed in zip(given, rows, sums, strict=True):
        if output.kind not in _ROWS:
            reports.append(summed.report())
            continue
        found, *beside = (np.concatenate(parts) for parts in zip(*held, strict=True))
        exact = beside[0] if beside else None
        if output.kind == "logits":
            reports.append(judge_logits(output.name, found, exact, labels))
        else:
            reports.append(judge_embedding(output.name, found, exact, groups))
    return OutputsReport(images, tuple(reports))


def _check_shapes(output: Output, parts: Sequence[NDArray[np.float32]], images: int) -> None:
    """Refuse an output that is not what it should be.

    Raises:
        MptqError: it is no row an image where it must be, not floats, or has another shape than the float model's.
    """
    found, *beside = parts
    row = output.kind not in _ROWS or found.ndim == 2
    if not row or len(found) != images or not np.issubdtype(found.dtype, np.floating):
        what = "logits" if output.kind == "logits" else "values"
        raise MptqError(
            f"output {output.name} is {found.dtype} of shape {list(found.shape)} for {images} images, not one row of "
            f"{what} an image; name " + ("a classifier" if output.kind == "logits" else "another file")
        )
    if beside and beside[0].shape != found.shape:
        raise MptqError(
            f"{output.name} is {list(found.shape)} in the ONNX file and {list(beside[0].shape)} in the float model: they "
            "are not the same model; name the checkpoint that was exported"
        )
