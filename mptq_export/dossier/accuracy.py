"""How good a file is on images, with intervals: what the export measured, and what `mptq-eval` found since."""

from collections.abc import Iterator
from dataclasses import dataclass

from mptq_export.dossier.contents import Measured
from mptq_export.evaluate.metrics import share_interval
from mptq_export.report.accuracy import EvaluatedOutput, Evaluation, accuracy_path
from mptq_export.report.evidence import Agreement, OutputCloseness
from mptq_export.report.export_files import Export
from mptq_export.report.paths import evidence_path

_SHARE = "Wilson's score interval of a share"
_DRAWS = "2.5th and 97.5th percentile of 2,000 draws of as many images"
_NONE = "none"


@dataclass(frozen=True)
class _Where:
    """On what a figure was measured, and which file holds it."""

    images: int
    on: str
    sha256: str | None
    source: str

    def share(self, output: str, what: str, value: float, floating: float | None = None) -> Measured:
        """A share of the images, with its interval."""
        low, high = share_interval(round(value * self.images), self.images)
        return self.figure(output, what, value, (low, high), kind=_SHARE, floating=floating)

    def figure(
        self,
        output: str,
        what: str,
        value: float,
        interval: tuple[float, float] | None = None,
        *,
        kind: str = _NONE,
        floating: float | None = None,
    ) -> Measured:
        """Any figure."""
        low, high = interval or (None, None)
        return Measured(output, what, value, low, high, kind, floating, self.images, self.on, self.sha256, self.source)


def accuracy_of(export: Export) -> tuple[Measured, ...]:
    """All figures that there are of a file."""
    evidence, found = export.evidence, list[Measured]()
    if export.accuracy is not None:
        found += _evaluated(export.accuracy, accuracy_path(export.onnx).name)
    if evidence is not None:
        source = evidence_path(export.onnx).name
        found += [] if evidence.agreement is None else _agreement(evidence.agreement, source)
        found += [each for output in evidence.outputs for each in _closeness(output, source)]
    return tuple(found)


def _evaluated(found: Evaluation, source: str) -> Iterator[Measured]:
    where = _Where(found.images, "the images of mptq-eval", found.images_sha256, source)
    for output in found.each:
        yield from _output(output, where)
    for precision in found.precision:
        task, quantised, floating = f"detection, {precision.kind}", precision.quantised.ap, precision.floating
        if quantised is not None:
            yield where.figure(task, "AP", quantised, floating=None if floating is None else floating.ap)
        if precision.difference is not None:
            yield where.figure(task, "AP minus float", precision.difference, precision.difference_interval, kind=_DRAWS)
    if found.found_again is not None:
        again = found.found_again.of_float
        for what, value in (("IoU 0.5", again.at_50), ("IoU 0.75", again.at_75)):
            if value is not None:
                yield where.figure("detection", f"detections of float found again at {what}", value)
    if found.iou is not None:
        floating_iou = None if found.iou.floating is None else found.iou.floating.mean_iou
        yield where.figure("segmentation", "mean IoU", found.iou.quantised.mean_iou, floating=floating_iou)
        if found.iou.difference is not None:
            interval = found.iou.difference_interval
            yield where.figure("segmentation", "mean IoU minus float", found.iou.difference, interval, kind=_DRAWS)
    if found.same_class is not None:
        yield where.figure("segmentation", "pixels of the same class as float", found.same_class)


def _output(output: EvaluatedOutput, where: _Where) -> Iterator[Measured]:
    ours, floats = output.quantised, output.floating
    if ours is not None:
        for what, of in (("top-1", "top1"), ("top-5", "top5"), ("nearest neighbour", "nearest"), ("10-NN", "ten")):
            value = getattr(ours, of)
            if value is not None:
                yield where.share(output.output, what, value, None if floats is None else getattr(floats, of))
    if output.agreement is not None:
        yield where.share(output.output, "same class as float", output.agreement)
    if output.mean_kl is not None:
        interval = output.kl_interval
        kind = _NONE if interval is None else _DRAWS
        yield where.figure(output.output, "mean KL(float || file), nats", output.mean_kl, interval, kind=kind)
    if output.beside_float is not None:
        yield where.figure(output.output, "mean cosine to float", output.beside_float.cosine)
        if (nearest := output.beside_float.neighbours) is not None:
            interval = nearest.nearest_interval
            yield where.figure(output.output, "nearest neighbour kept", nearest.nearest, interval, kind=_SHARE)
    if output.cosine is not None:
        yield where.figure(output.output, "mean cosine to float", output.cosine)
    if output.sqnr_db is not None:
        yield where.figure(output.output, "SQNR to float, dB", output.sqnr_db)


def _agreement(found: Agreement, source: str) -> Iterator[Measured]:
    where = _Where(found.images, _images(found.source, found.calibrated), None, source)
    share = found.same / found.images
    yield where.figure("logits", "same class as float", share, (found.low, found.high), kind=_SHARE)
    interval = (found.kl_low, found.kl_high)
    yield where.figure("logits", "mean KL(float || file), nats", found.mean_kl, interval, kind=_DRAWS)


def _closeness(found: OutputCloseness, source: str) -> Iterator[Measured]:
    where = _Where(found.images, _images(found.source, found.calibrated), None, source)
    yield where.figure(found.output, "mean cosine to float", found.cosine)
    if found.sqnr_db is not None:
        yield where.figure(found.output, "SQNR to float, dB", found.sqnr_db)
    low, high = found.same_nearest_low, found.same_nearest_high
    if found.same_nearest is not None and low is not None and high is not None:
        share = found.same_nearest / found.images
        yield where.figure(found.output, "nearest neighbour kept", share, (low, high), kind=_SHARE)


def _images(source: str, calibrated: int) -> str:
    return f"{source}; {calibrated} of them were calibrated on"
