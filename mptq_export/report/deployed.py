"""The written file in onnxruntime: does it agree with the float model, and how fast is an image?"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.bench.inputs import feed_of
from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import interleave
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.data.comparison_images import FixedImages, open_fixed
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.evaluate.metrics import Logits, agreement, divergences, mean_interval, share_interval
from mptq_export.load.forward import tensors
from mptq_export.load.outputs import outputs_of
from mptq_export.report.evidence import Agreement, Latency
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import file_inputs
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.progress import Progress, tracked

#: Images of a step.
_BATCH = 8

#: Images that the agreement is measured on.
IMAGES = 64

#: Multiply-accumulates of all at most, those of 64 images of ViT-B; a larger model gets fewer images, down to `FEWEST`.
#: No clock decides: the figures of two exports of a checkpoint are of the same images.
_WORK = IMAGES * 20e9

#: Images of the largest models.
FEWEST = 8

#: What all timed runs may take.
_LATENCY_SECONDS = 1.5

#: Fewer rounds say little; more say little more.
_ROUNDS = (3, 15)

#: A 2-D row of logits, at least two classes.
_LOGITS_DIM = 2


class FloatLogits:
    """Logits of a float model, computed once for every batch: the files of one search are compared on the same images.

    They are known by the bytes of the batch, so that no other batch gets them.
    """

    def __init__(self, model: torch.nn.Module, place: int = 0) -> None:
        """Nothing is computed yet.

        Args:
            model: the float model, on the CPU.
            place: which of its outputs are the logits.
        """
        self._model = model
        self._place = place
        self._known: dict[bytes, Logits] = {}

    def of(self, batch: NDArray[np.float32]) -> Logits:
        """(images, classes) float32 of (images, channels, height, width) inputs."""
        key = hashlib.sha256(batch.tobytes()).digest()
        if key not in self._known:
            with torch.inference_mode():
                self._known[key] = tensors(self._model(torch.from_numpy(batch)))[self._place].float().numpy()
        return self._known[key]


def agreement_images(asked: CalibrationRequest, preprocessing: Preprocessing, macs: int) -> FixedImages:
    """The images that the agreement of a model is measured on.

    Args:
        asked: what the export was calibrated on.
        preprocessing: the model's.
        macs: multiply-accumulates of one image.

    Raises:
        MptqError: they cannot be read any more.
    """
    most = max(FEWEST, min(IMAGES, int(_WORK / max(macs, 1))))
    images = open_fixed(asked.images, preprocessing, count=most, calibrated=asked.count, reading=asked.reading)
    if images.count < most or most == IMAGES:
        return images
    why = f"{images.description} (so few, because one takes {macs / 1e9:.0f} billion multiply-accumulates)"
    return replace(images, description=why)


def measure_agreement(
    path: Path, float_logits: FloatLogits, images: FixedImages, preprocessing: Preprocessing, progress: Progress
) -> Agreement | None:
    """Run file and float model on the same images.

    Args:
        path: the written file.
        float_logits: of the float model.
        images: what they are compared on.
        preprocessing: the model's.
        progress: hears how far it is.

    Returns:
        None where the model gives no logits of two classes or more.
    """
    session = open_session(path)
    given = outputs_of(session.get_modelmeta().custom_metadata_map)
    name = next((each.name for each in given if each.kind == "logits"), None)
    if name is None:
        return None
    spec = graph_input(session)
    ours: list[Logits] = []
    theirs: list[Logits] = []
    size = spec.batch(_BATCH)
    batches = tracked(images.batches(size), progress, "comparing with float", -(-images.count // size))
    for batch in batches:
        inputs = file_inputs(batch, spec, preprocessing)
        ours.append(run_session(session, [name], {spec.name: inputs})[name])
        theirs.append(float_logits.of(batch))
    found, exact = np.concatenate(ours), np.concatenate(theirs)
    if found.ndim != _LOGITS_DIM or found.shape != exact.shape or found.shape[1] < 2:
        return None
    same = round(agreement(exact, found) * len(found))
    low, high = share_interval(same, len(found))
    kl = divergences(exact, found)
    kl_low, kl_high = mean_interval(kl)
    return Agreement(
        images=len(found),
        same=same,
        low=low,
        high=high,
        mean_kl=float(kl.mean()),
        kl_low=kl_low,
        kl_high=kl_high,
        source=images.description,
        calibrated=images.calibrated,
    )


def measure_latency(path: Path, float_onnx: Path | None) -> Latency | None:
    """Time one image on one thread, in turn with the float file where there is one.

    Returns:
        None where so few runs fit into the time that they would say nothing.
    """
    runners: dict[str, Callable[[], object]] = {}
    for name, file in {"file": path, "float": float_onnx}.items():
        if file is not None:
            session = open_session(file, threads=1)
            output = [session.get_outputs()[0].name]
            runners[name] = partial(run_session, session, output, feed_of(graph_input(session), 1))
    start = time.perf_counter()
    for run in runners.values():
        run()
    once = time.perf_counter() - start
    rounds = min(int(_LATENCY_SECONDS / (2 * max(once, 1e-6))), _ROUNDS[1])
    if rounds < _ROUNDS[0]:
        return None
    times = interleave(runners, rounds)
    medians = {name: float(np.median(seconds)) * 1e3 for name, seconds in times.items()}
    ratio = float(np.median(times["file"] / times["float"])) if "float" in times else None
    return Latency(
        cpu=detect_cpu().description,
        threads=1,
        rounds=rounds,
        file_ms=medians["file"],
        float_ms=medians.get("float"),
        ratio=ratio,
    )
