"""The written file in onnxruntime: does it agree with the float model, and how fast is an image?"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.bench.inputs import feed_of
from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import interleave
from mptq_export.data.comparison_images import FixedImages
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.sources.source import CalibrationSource
from mptq_export.evaluate.dense import DenseReport
from mptq_export.evaluate.embeddings import EmbeddingReport
from mptq_export.evaluate.logits import EvalReport
from mptq_export.evaluate.metrics import share_interval
from mptq_export.evaluate.outputs import HELD, Values, compare_outputs
from mptq_export.load.forward import tensors
from mptq_export.recipe.outputs import Output
from mptq_export.report.evidence import Agreement, Latency, OutputCloseness
from mptq_export.report.float_file import FloatFile
from mptq_export.runtime.any_batch import run_any
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import file_inputs
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import Progress, tracked

#: Images of a step; of a model whose tensors are too many for a check of several images, one.
BATCH = 8

#: Images that the agreement is measured on.
IMAGES = 64

#: Multiply-accumulates of all at most, those of 64 images of ViT-B; a larger model gets fewer images, down to `FEWEST`.
#: No clock decides: the figures of two exports of a checkpoint are of the same images.
_WORK = IMAGES * 20e9

#: Images of the largest models.
FEWEST = 8

#: What all timed runs should take, and what the fewest may.
_LATENCY_SECONDS = (1.5, 6.0)

#: Fewer rounds say little; more say little more.
_ROUNDS = (3, 15)


class FloatOutputs:
    """What a float model gives, computed once for every batch: the files of one search are compared on the same images.

    Batches are known by their bytes, so that no other batch gets them. Of models with outputs that are large (maps,
    tokens) nothing is kept.

    Attributes:
        given: what the model gives, in order.
        file: the model as a file, for timing.
    """

    def __init__(self, model: torch.nn.Module, given: tuple[Output, ...]) -> None:
        """Nothing is computed yet.

        Args:
            model: the float model, on the CPU.
            given: what it gives, in order.
        """
        self.given, self._model = given, model
        self.file = FloatFile(model)
        self._small = all(each.kind in HELD for each in given)
        self._known: dict[bytes, Values] = {}

    def of(self, batch: NDArray[np.float32]) -> Values:
        """One float32 array an output, (images, ...), of (images, channels, height, width) inputs."""
        key = hashlib.sha256(batch.tobytes()).digest()
        if key in self._known:
            return self._known[key]
        with torch.inference_mode():
            found = [value.float().numpy() for value in tensors(self._model(torch.from_numpy(batch)))]
        if self._small:
            self._known[key] = found
        return found


@dataclass(frozen=True)
class Compared:
    """A written file beside its float model.

    Attributes:
        agreement: of its classes; None where it gives none.
        outputs: everything else that it gives.
    """

    agreement: Agreement | None = None
    outputs: tuple[OutputCloseness, ...] = ()


def agreement_images(source: CalibrationSource, macs: int) -> FixedImages:
    """The images that the agreement of a model is measured on.

    Args:
        source: what the export was calibrated on.
        macs: multiply-accumulates of one image.

    Raises:
        MptqError: they cannot be read any more.
    """
    most = max(FEWEST, min(IMAGES, int(_WORK / max(macs, 1))))
    images = source.comparison(most)
    if images.count < most or most == IMAGES:
        return images
    why = f"{images.description} (so few, because one takes {macs / 1e9:.0f} billion multiply-accumulates)"
    return replace(images, description=why)


def compare_with_float(
    path: Path,
    floating: FloatOutputs,
    images: FixedImages,
    preprocessing: Preprocessing,
    progress: Progress,
    *,
    batch: int = BATCH,
) -> Compared:
    """Run file and float model on the same images.

    Args:
        path: the written file.
        floating: what the float model gives.
        images: what they are compared on.
        preprocessing: the model's.
        progress: hears how far it is.
        batch: images of a step, where the file leaves it free.
    """
    session = open_session(path)
    spec, names = graph_input(session), [each.name for each in floating.given]
    size = spec.batch(batch)
    batches = tracked(images.batches(size), progress, "comparing with float", -(-images.count // size))

    def pairs() -> Iterator[tuple[Values, Values]]:
        for some in batches:
            found = run_any(session, names, spec, file_inputs(some, spec, preprocessing))
            yield [found[name] for name in names], floating.of(some)

    report = compare_outputs(pairs(), floating.given)
    agreement, others = None, list[OutputCloseness]()
    for each in report.outputs:
        if not isinstance(each, EvalReport):
            others.append(_closeness(each, images))
        elif each.classes > 1 and agreement is None:  # the first, where there are several
            agreement = _agreement(each, images)
    return Compared(agreement, tuple(others))


def _agreement(report: EvalReport, images: FixedImages) -> Agreement | None:
    if report.agreement is None or report.mean_kl is None or report.kl_interval is None:
        return None
    same = round(report.agreement * report.images)
    low, high = share_interval(same, report.images)
    return Agreement(
        images=report.images,
        same=same,
        low=low,
        high=high,
        mean_kl=report.mean_kl,
        kl_low=report.kl_interval[0],
        kl_high=report.kl_interval[1],
        source=images.description,
        calibrated=images.calibrated,
    )


def _closeness(report: EmbeddingReport | DenseReport, images: FixedImages) -> OutputCloseness:
    near, lowest, sqnr = None, None, None
    if isinstance(report, DenseReport):
        cosine, sqnr = report.cosine, report.sqnr_db
    else:
        assert report.beside_float is not None
        close = report.beside_float
        cosine, lowest, near = close.cosine, close.lowest_cosine, close.neighbours
    assert cosine is not None
    return OutputCloseness(
        output=report.output,
        kind=report.kind,
        images=images.count,
        cosine=cosine,
        lowest_cosine=lowest,
        sqnr_db=sqnr,
        same_nearest=None if near is None else round(near.nearest * images.count),
        same_nearest_low=None if near is None else near.nearest_interval[0],
        same_nearest_high=None if near is None else near.nearest_interval[1],
        shared_ten=None if near is None else near.ten,
        source=images.description,
        calibrated=images.calibrated,
    )


def measure_latency(
    path: Path, float_onnx: Path | None, floating: FloatFile, image: NDArray[np.float32]
) -> Latency | None:
    """Time one image on one thread, in turn with the float model.

    Args:
        path: the written file.
        float_onnx: the float model as a file, where one was asked for.
        floating: writes it, where none was.
        image: a float32 input of the float model, (1, channels, height, width).

    Returns:
        None where so few runs fit into the time that they would say nothing.
    """
    runs = {"file": _runner(path)}
    if _rounds(_once(runs)) is None:
        return None
    why = ""
    try:
        runs["float"] = _runner(float_onnx or floating.path(image))
    except MptqError as error:
        why = str(error)
    rounds = _rounds(_once(runs))
    if rounds is None:
        del runs["float"]
        why, rounds = "it takes too long to be timed in passing", _ROUNDS[0]
    times = interleave(runs, rounds)
    medians = {name: float(np.median(seconds)) * 1e3 for name, seconds in times.items()}
    return Latency(
        cpu=detect_cpu().description,
        threads=1,
        rounds=rounds,
        file_ms=medians["file"],
        float_ms=medians.get("float"),
        ratio=float(np.median(times["file"] / times["float"])) if "float" in times else None,
        why_no_float=why,
    )


def _runner(path: Path) -> Callable[[], object]:
    session = open_session(path, threads=1)
    output = [session.get_outputs()[0].name]
    return partial(run_session, session, output, feed_of(graph_input(session), 1))


def _once(runs: Mapping[str, Callable[[], object]]) -> float:
    """Seconds of one run of each, the first of which is not counted: it allocates."""
    for run in runs.values():
        run()
    start = time.perf_counter()
    for run in runs.values():
        run()
    return time.perf_counter() - start


def _rounds(once: float) -> int | None:
    """How many rounds are timed, where one of each takes so many seconds; None where it is not worth it."""
    few, many = _ROUNDS
    if 2 * few * once > _LATENCY_SECONDS[1]:  # every timed run has one before it that is not
        return None
    return min(max(int(_LATENCY_SECONDS[0] / (2 * max(once, 1e-6))), few), many)
