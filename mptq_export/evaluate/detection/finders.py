"""The detectors of one evaluation: the file, here or in another runtime, and its float model."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.detect.parts import PartFile
from mptq_export.evaluate.beside import LoadFloat, load_beside
from mptq_export.evaluate.data import about_float
from mptq_export.evaluate.detection.models import Detect, file_detect, float_detect, glued, heads_of
from mptq_export.evaluate.edge import Elsewhere
from mptq_export.evaluate.given import Given
from mptq_export.evaluate.request import EvalRequest
from mptq_export.recipe.detector import Detector, Part
from mptq_export.runtime.edge.form import check_form
from mptq_export.runtime.edge.opening import check_runtime, open_edge
from mptq_export.runtime.pixels import Pixels
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of


@dataclass(frozen=True)
class Finder:
    """A detector that is evaluated.

    Attributes:
        detect: runs it.
        digest: of all that it is made of, so that results of another one are not taken for its own.
    """

    detect: Detect
    digest: str


@dataclass(frozen=True)
class Finders:
    """All detectors of an evaluation.

    Attributes:
        quantised: the file.
        floating: the float model; None without one.
        paths: of all files that are run.
        batch: pictures a batch.
        elsewhere: the other runtime that the file runs in; None for onnxruntime on this CPU.
        warnings: what the user should know, a sentence each.
    """

    quantised: Finder
    floating: Finder | None
    paths: tuple[Path, ...]
    batch: int
    elsewhere: Elsewhere | None
    warnings: tuple[str, ...]

    @property
    def all(self) -> Sequence[Finder]:
        """The file, then the float model."""
        return (self.quantised,) if self.floating is None else (self.quantised, self.floating)


def check_runtime_for(asked: EvalRequest, metadata: Mapping[str, str], detector: Detector) -> None:
    """Refuse another runtime for what it cannot run.

    Raises:
        MptqError: it is not installed, does not take the file, or the detector has several files.
    """
    if asked.runtime is None:
        return
    if heads_of(detector, masks=False):
        raise MptqError(
            f"--runtime {asked.runtime}: {asked.model} is the first of several files, and only detectors of one file "
            "are run elsewhere; leave --runtime out"
        )
    check_runtime(asked.runtime, asked.options)
    check_form(asked.model, metadata, asked.runtime)


def finders_for(
    asked: EvalRequest, parts: Mapping[Part, PartFile], load_float: LoadFloat, stack: ExitStack, *, masks: bool
) -> Finders:
    """The file as it is asked for, and the float model, loaded.

    Args:
        asked: what is evaluated.
        parts: the detector's files.
        load_float: loads `asked.checkpoint`; called where there is one.
        stack: closes what was opened.
        masks: whether masks are wanted.

    Raises:
        MptqError: the runtime refuses the file, or the float model is another detector.
    """
    first = next(iter(parts.values()))
    normalize = Preprocessing.from_metadata(first.metadata).normalize
    paths = tuple(part.path for part in parts.values())
    digest, elsewhere = " ".join(map(sha256_of, paths)), None
    quantised = Finder(file_detect(parts, normalize, masks=masks), digest)
    if asked.runtime is not None:
        opened = stack.enter_context(closing(open_edge(asked.runtime, asked.model, asked.options)))
        names = [entry.name for entry in first.session.get_outputs()]
        running = elsewhere = Elsewhere(opened, first.spec, names, normalize)

        def outputs(pixels: Pixels) -> Mapping[str, NDArray[np.float32]]:
            return dict(zip(names, running.predict(pixels), strict=True))

        where = f"{opened.name} {opened.version} {opened.device}"
        quantised = Finder(glued(first.detector, outputs, {}), f"{digest} {where}")
    floating, warnings = None, tuple[str, ...]()
    if asked.checkpoint is not None:
        given = Given.by(first.metadata, first.session)
        loaded = load_beside(asked.checkpoint, asked.model, first.metadata, given, load_float)
        floating = Finder(float_detect(loaded, first.detector, masks=masks), f"float {loaded.digest}")
        warnings = about_float(loaded.warnings)
    batch = first.spec.batch(asked.batch if elsewhere is None else 1)
    return Finders(quantised, floating, paths, batch, elsewhere, warnings)
