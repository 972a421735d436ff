"""The detectors of one evaluation: the file, here or in another runtime, and its float model."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.evaluate.beside import LoadFloat, load_beside
from mptq_export.evaluate.data import about_float
from mptq_export.evaluate.detection.models import Detect, float_detect, glued, heads_of, open_detector_files
from mptq_export.evaluate.edge import Elsewhere
from mptq_export.evaluate.given import Given
from mptq_export.evaluate.request import EvalRequest
from mptq_export.recipe.detector import Detector
from mptq_export.runtime.edge.form import check_form
from mptq_export.runtime.edge.opening import check_runtime, open_edge
from mptq_export.runtime.graph_input import graph_input
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
    check_runtime(asked.runtime, asked.options)
    check_form(asked.model, metadata, asked.runtime)
    if heads_of(detector, masks=False):
        raise MptqError(
            f"--runtime {asked.runtime}: {asked.model} is the first of several files, and only detectors of one file "
            "are run elsewhere; leave --runtime out"
        )


def finders_for(
    asked: EvalRequest, metadata: Mapping[str, str], load_float: LoadFloat, stack: ExitStack, *, masks: bool
) -> Finders:
    """Open the file, and load the float model.

    Args:
        asked: what is evaluated.
        metadata: of the file.
        load_float: loads `asked.checkpoint`; called where there is one.
        stack: closes what was opened.
        masks: whether masks are wanted.

    Raises:
        MptqError: a file is missing or of another detector, or so is the float model.
    """
    normalize = Preprocessing.from_metadata(metadata).normalize
    files = open_detector_files(asked.model, metadata, normalize, masks=masks)
    spec, digest = graph_input(files.session), " ".join(map(sha256_of, files.paths))
    quantised, elsewhere = Finder(files.detect, digest), None
    if asked.runtime is not None:
        opened = stack.enter_context(closing(open_edge(asked.runtime, asked.model, asked.options)))
        names = [entry.name for entry in files.session.get_outputs()]
        running = elsewhere = Elsewhere(opened, spec, names, normalize)

        def first(pixels: Pixels) -> Mapping[str, NDArray[np.float32]]:
            return dict(zip(names, running.predict(pixels), strict=True))

        where = f"{opened.name} {opened.version} {opened.device}"
        quantised = Finder(glued(files.detector, first, {}), f"{digest} {where}")
    floating, warnings = None, tuple[str, ...]()
    if asked.checkpoint is not None:
        given = replace(Given.by(metadata, files.session), chosen=None)  # all: boxes are made of them together
        loaded = load_beside(asked.checkpoint, asked.model, metadata, given, load_float)
        floating = Finder(float_detect(loaded, files.detector, masks=masks), f"float {loaded.digest}")
        warnings = about_float(loaded.warnings)
    batch = spec.batch(asked.batch if elsewhere is None else 1)
    return Finders(quantised, floating, files.paths, batch, elsewhere, warnings)
