"""Accuracy of a classifier, and of its float model beside it, over a folder of images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import onnxruntime as ort

from mptq_export.evaluate.by_class import ClassAccuracy, accuracy_by_class
from mptq_export.evaluate.metrics import (
    Labels,
    Logits,
    agreement,
    cosines,
    divergences,
    in_top_k,
    mean_interval,
    top_k,
)
from mptq_export.evaluate.numbering import misnumbered
from mptq_export.evaluate.worst_images import WorstImage, worst_images
from mptq_export.runtime.any_batch import run_any
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import Json

Predict = Callable[[Pixels], Logits]
"""Pixels in, (images, classes) logits out."""

_TOP5_CLASSES = 5


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one model on labelled images, as shares of 1.

    Attributes:
        top1: share whose label is the largest logit; None without labels.
        top5: share whose label is among the five largest; None without labels or with fewer than five classes.
    """

    top1: float | None
    top5: float | None


@dataclass(frozen=True)
class EvalReport:
    """The logits of one file on one folder of images.

    Attributes:
        images: number of images.
        classes: number of logits.
        quantised: accuracy of the file.
        floating: accuracy of the float model; None where there was none.
        agreement: share of the images for which both name the same class; None without a float model.
        mean_kl: mean KL(float || quantised) of the softmax of the logits, in nats; None without a float model.
        kl_interval: what other images of the same kind would give, at 95 %, as `metrics.mean_interval`.
        cosine: mean cosine of both logits of an image; None without a float model.
        warnings: what the user should know, a sentence each.
        output: name of the ONNX output.
        kind: `logits`.
        by_class: accuracy of every class that has images; empty without labels.
        worst: the images on which it fares worst, the worst first; empty with neither labels nor a float model.
    """

    images: int
    classes: int
    quantised: Accuracy
    floating: Accuracy | None
    agreement: float | None
    mean_kl: float | None
    kl_interval: tuple[float, float] | None
    cosine: float | None
    warnings: tuple[str, ...] = ()
    output: str = "logits"
    kind: Literal["logits"] = "logits"
    by_class: tuple[ClassAccuracy, ...] = ()
    worst: tuple[WorstImage, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The report as plain JSON values."""
        return asdict(self)


def onnx_predictor(session: ort.InferenceSession, normalize: Normalize) -> Predict:
    """The session as a function from pixels to logits: its first output.

    Raises:
        MptqError: the graph has several inputs, or one of a type that is not supported.
    """
    spec = graph_input(session)
    output = session.get_outputs()[0].name

    def predict(pixels: Pixels) -> Logits:
        logits: Logits = run_any(session, [output], spec, to_graph_input(pixels, spec, normalize))[output]
        if logits.ndim != 2 or logits.shape[0] != len(pixels) or not np.issubdtype(logits.dtype, np.floating):
            raise MptqError(
                f"output {output} is {logits.dtype} of shape {list(logits.shape)} for {len(pixels)} images, not "
                "one row of logits an image; name a classifier"
            )
        return logits

    return predict


def evaluate(
    batches: Iterable[Pixels],
    labels: Labels | None,
    quantised: Predict,
    floating: Predict | None = None,
) -> EvalReport:
    """Run both models on the same pixels and measure.

    Args:
        batches: the images.
        labels: class index of each image over all batches, in order; None where the images have none.
        quantised: the file.
        floating: the float model, if it is at hand.

    Raises:
        MptqError: there are no images, a label has no logit, or the two models differ in their classes.
    """
    logits, *beside = predictions(batches, [quantised] if floating is None else [quantised, floating])
    return judge_logits(logits, beside[0] if beside else None, labels)


def judge_logits(
    logits: Logits, float_logits: Logits | None, labels: Labels | None, output: str = "logits"
) -> EvalReport:
    """Measure the logits of all images.

    Args:
        logits: (images, classes) of the file.
        float_logits: of the float model; None without one.
        labels: class index of each image; None where the images have none.
        output: name of the ONNX output.

    Raises:
        MptqError: a label has no logit, or the two models differ in their classes.
    """
    if labels is not None and labels.max() >= logits.shape[1]:
        raise MptqError(
            f"the folder has at least {labels.max() + 1} classes, the model {logits.shape[1]} logits; "
            "name the folder that the model was trained for"
        )
    images, classes = logits.shape
    note = None if labels is None else misnumbered(logits.argmax(axis=1), labels, classes)
    report = EvalReport(
        images=images,
        classes=classes,
        quantised=_accuracy(logits, labels),
        floating=None,
        agreement=None,
        mean_kl=None,
        kl_interval=None,
        cosine=None,
        warnings=() if note is None else (note,),
        output=output,
        by_class=_by_class(logits, None, labels),
        worst=worst_images(logits, None, labels, None),
    )
    if float_logits is None:
        return report
    if float_logits.shape != logits.shape:
        raise MptqError(
            f"the float model has {float_logits.shape[1]} logits, the ONNX file {classes}: "
            "they are not the same model; name the checkpoint that was exported"
        )
    found = divergences(float_logits, logits)
    return replace(
        report,
        floating=_accuracy(float_logits, labels),
        agreement=agreement(float_logits, logits),
        mean_kl=float(found.mean()),
        kl_interval=mean_interval(found),
        cosine=float(cosines(float_logits, logits).mean()),
        by_class=_by_class(logits, float_logits, labels),
        worst=worst_images(logits, float_logits, labels, found),
    )


def predictions(batches: Iterable[Pixels], models: Sequence[Predict]) -> list[Logits]:
    """Logits of every model on the same images: (images, classes) each, in the order of the models.

    Raises:
        MptqError: there are no images.
    """
    parts = [[predict(pixels) for predict in models] for pixels in batches]
    if not parts:
        raise MptqError("there are no images to evaluate; name a folder that holds some with --data")
    return [np.concatenate(of_model) for of_model in zip(*parts, strict=True)]


def _by_class(logits: Logits, float_logits: Logits | None, labels: Labels | None) -> tuple[ClassAccuracy, ...]:
    if labels is None:
        return ()
    beside = None if float_logits is None else in_top_k(float_logits, labels, 1)
    return accuracy_by_class(labels, in_top_k(logits, labels, 1), beside)


def _accuracy(logits: Logits, labels: Labels | None) -> Accuracy:
    if labels is None:
        return Accuracy(None, None)
    top5 = top_k(logits, labels, 5) if logits.shape[1] >= _TOP5_CLASSES else None
    return Accuracy(top_k(logits, labels, 1), top5)
