"""One model beside ours, whatever runs it, and how far its logits can be trusted to stay the same."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.reference import open_reference

Predict = Callable[[np.ndarray], np.ndarray]
"""(images, 3, height, width) float32 in, (images, classes) logits out."""

Open = Callable[[int, int], Predict]
"""Number of threads and batch size in, the model ready to run out."""


@dataclass(frozen=True)
class Peer:
    """A model that can be run.

    Attributes:
        name: what the tables call it.
        files: what would be deployed.
        open: loads it.
        is_onnx: whether the one file is ONNX, run by onnxruntime.
    """

    name: str
    files: tuple[Path, ...]
    open: Open
    is_onnx: bool

    @property
    def file_bytes(self) -> int:
        """Size of its files."""
        return sum(file.stat().st_size for file in self.files)


def onnx_peer(name: str, path: Path) -> Peer:
    """An ONNX file in onnxruntime's default session."""
    return Peer(name, (path,), lambda threads, _batch: onnx_predict(path, threads), True)


def onnx_predict(path: Path, threads: int, options: ort.SessionOptions | None = None) -> Predict:
    """The file's first output as a function of its one input."""
    session = open_session(path, options, threads=threads)
    name, output = graph_input(session).name, session.get_outputs()[0].name
    return lambda images: run_session(session, [output], {name: images})[output]


def stability(peer: Peer, images: np.ndarray) -> dict[str, int | str]:
    """How many logits change with what should not matter, on this CPU.

    Args:
        peer: the model.
        images: (images, 3, height, width), at least two of them.

    Returns:
        Differing logits against one thread, one image at a time, by what was changed: the ``batch`` (all images at
        once), the ``threads`` (two), and for ONNX the ``optimiser`` (onnxruntime's graph optimisations off) and the
        runtime (``kernels_ref``); a sentence where that cannot be run. ``logits`` is the number that was compared.
    """

    def alone(predict: Predict) -> np.ndarray:
        return np.concatenate([predict(image[None]) for image in images])

    expected = alone(peer.open(1, 1))
    found: dict[str, int | str] = {
        "logits": expected.size,
        "batch": _differing(expected, peer.open(1, len(images))(images)),
        "threads": _differing(expected, alone(peer.open(2, 1))),
    }
    if peer.is_onnx:
        (path,) = peer.files
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        found["optimiser"] = _differing(expected, alone(onnx_predict(path, 1, options)))
        try:
            found["kernels_ref"] = _differing(expected, alone(_reference(path)))
        except MptqError as error:
            found["kernels_ref"] = str(error).removeprefix(f"kernels_ref cannot run {path}: ")
    return found


def _reference(path: Path) -> Predict:
    run = open_reference(path)
    name = graph_input(open_session(path)).name
    return lambda images: next(iter(run({name: images}).values()))


def _differing(expected: np.ndarray, got: np.ndarray) -> int:
    return int((expected != got).sum())
