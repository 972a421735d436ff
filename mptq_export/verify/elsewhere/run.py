"""The verb: does a file run in another runtime whole, in integers, and to the same result?"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import exif_of
from mptq_export.evaluate.beside import LoadFloat, load_beside
from mptq_export.evaluate.data import about_float
from mptq_export.evaluate.given import Given
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.outputs import Output
from mptq_export.runtime.edge.form import TARGET_KEY, check_form
from mptq_export.runtime.edge.opening import check_runtime, open_edge
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.session import EdgeSession, RefusedFileError, RuntimeName
from mptq_export.runtime.graph_input import GraphInput, declared_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of
from mptq_export.support.progress import SILENT, Progress, tracked
from mptq_export.verify.elsewhere.closeness import closeness
from mptq_export.verify.elsewhere.final_codes import codes_off, step_of
from mptq_export.verify.elsewhere.inputs import Example, FloatSide, made_up, of_images, of_model, of_onnx
from mptq_export.verify.elsewhere.judge import wrong
from mptq_export.verify.elsewhere.report import ElsewhereReport, OutputElsewhere
from mptq_export.verify.inputs.sets import RANDOM, InputKind
from mptq_export.verify.onnx_file import load_onnx, metadata_of
from mptq_export.verify.origin import check_contents, check_recipe
from mptq_export.verify.run import COUNT

Results = list[list[NDArray[Any]]]
"""For every input the outputs, a batch of one each."""


@dataclass(frozen=True)
class ElsewhereRequest:
    """What is run where.

    Attributes:
        model: the ONNX file.
        runtime: name of the runtime.
        options: how it is opened.
        images: folder of images to run; None for random inputs.
        count: at most so many of them; None: 16 images, or 4 random inputs.
        floating: the float model to compare with: a checkpoint, or an ONNX file; None for none.
        recipe: also prove that the file came from this `.recipe.json`; one that did not is not run.
        allow_skipped: go on where more than a tenth of the images cannot be read.
    """

    model: Path
    runtime: RuntimeName
    options: EdgeOptions = field(default_factory=EdgeOptions)
    images: Path | None = None
    count: int | None = None
    floating: ModelRequest | Path | None = None
    recipe: Path | None = None
    allow_skipped: bool = False


def verify_elsewhere(asked: ElsewhereRequest, load_float: LoadFloat, progress: Progress = SILENT) -> ElsewhereReport:
    """Run a file in another runtime and hold what it gives against what the file says, and against the float model.

    What the file says is what onnxruntime's CPU provider computes without optimizations: every op in float between its
    codes. With them it may do otherwise (16-bit activations are quantized to 8 bits in front of a matmul).

    Args:
        asked: what, where, on what.
        load_float: loads a float checkpoint; called where one is given.
        progress: hears how far it is.

    Returns:
        The report; where the runtime refuses the file, or that is not the recipe's, its verdict says so.

    Raises:
        MptqError: the runtime is not installed, the file is of a form that it does not take, or the file, the images or
            the float model cannot be used.
    """
    check_runtime(asked.runtime, asked.options)
    document = load_onnx(asked.model)
    metadata = metadata_of(document)
    check_form(asked.model, metadata, asked.runtime)
    origin = check_contents(document) if asked.recipe is None else check_recipe(document, asked.recipe)
    written = _as_written(asked.model)
    given, spec = Given.by(metadata, written), declared_input(document)
    floating, told = _floating(asked, metadata, given, load_float)
    report = ElsewhereReport(
        model=str(asked.model),
        sha256=sha256_of(asked.model),
        runtime=asked.runtime,
        version="",
        device="",
        target=metadata.get(TARGET_KEY, ""),
        placement=None,
        floating=None if asked.floating is None else _named(asked.floating),
        warnings=told,
        origin=origin,
    )
    if origin is not None and origin.problems and asked.recipe is not None:
        return report
    folder = None if asked.images is None else _images(asked, asked.images, metadata)
    examples, count = _examples(folder, spec, asked.count)
    try:
        session = open_edge(asked.runtime, asked.model, asked.options)
    except RefusedFileError as error:
        return replace(report, refused=str(error))
    with closing(session):
        names = [each.name for each in given.outputs]
        sides = _Sides(session, written, names, spec, floating)
        for example in tracked(examples, progress, f"running in {asked.runtime}", count):
            sides.run(example)
    done = len(sides.there)
    kind: InputKind = "random" if folder is None else "images"
    return replace(
        report,
        version=session.version,
        device=session.device,
        placement=session.placement,
        inputs={kind: done},
        seconds=sides.seconds / max(done, 1),
        outputs=_compared(document, given.outputs, sides, images=folder is not None),
        warnings=(*told, *(folder.warnings if folder else ())),
    )


class _Sides:
    """The outputs of all sides, input by input."""

    def __init__(
        self,
        session: EdgeSession,
        written: ort.InferenceSession,
        names: Sequence[str],
        spec: GraphInput,
        floating: FloatSide | None,
    ) -> None:
        self._session, self._written, self._names, self._spec = session, written, list(names), spec
        self._floating = floating
        self.there: Results = []
        self.here: Results = []
        self.float: Results = []
        self.seconds = 0.0

    def run(self, example: Example) -> None:
        """Compute one input on all sides."""
        start = perf_counter()
        found = self._session.run(example.x)
        self.seconds += perf_counter() - start
        missing = sorted(set(self._names) - set(found))
        if missing:
            raise MptqError(
                f"{self._session.device} gives no output {missing[0]}; it gives {', '.join(found) or 'none'}"
            )
        here = run_session(self._written, self._names, {self._spec.name: example.x})
        self.there.append([found[name].astype(np.float32) for name in self._names])
        self.here.append([here[name].astype(np.float32) for name in self._names])
        if self._floating is not None:
            self.float.append([np.asarray(values, np.float32) for values in self._floating(example)])


def _compared(
    document: onnx.ModelProto, outputs: Sequence[Output], sides: _Sides, *, images: bool
) -> tuple[OutputElsewhere, ...]:
    """Every output of all inputs."""
    found = []
    for place, output in enumerate(outputs):
        there, here, exact = (
            np.concatenate([values[place] for values in side]) if side else None
            for side in (sides.there, sides.here, sides.float)
        )
        if there is None or here is None:
            raise MptqError("there are no inputs to run; name a folder of images that can be read")
        if there.shape != here.shape or (exact is not None and exact.shape != here.shape):
            other = there.shape if there.shape != here.shape else exact.shape if exact is not None else ()
            raise MptqError(
                f"{output.name} is {list(here.shape)} in the file and {list(other)} elsewhere: not the same model"
            )
        beside = closeness(output.kind, here, there)
        floating = None if exact is None else closeness(output.kind, exact, there)
        written = None if exact is None else closeness(output.kind, exact, here)
        step = step_of(document, output.name)
        found.append(
            OutputElsewhere(
                output.name,
                output.kind,
                beside,
                floating,
                written,
                None if step is None else codes_off(step, here, there),
                tuple(wrong(output.name, beside, written.mean_kl if written else None, images=images)),
            )
        )
    return tuple(found)


def _as_written(model: Path) -> ort.InferenceSession:
    """What the file says: no node of it is replaced."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(model, options)


def _floating(
    asked: ElsewhereRequest, metadata: dict[str, str], given: Given, load_float: LoadFloat
) -> tuple[FloatSide | None, tuple[str, ...]]:
    """The float side, and what the user must see of it."""
    if asked.floating is None:
        return None, ()
    if isinstance(asked.floating, Path):
        return of_onnx(asked.floating, given, metadata), ()
    if asked.images is None:
        raise MptqError("a float checkpoint is compared on images; give --images, or the float model's ONNX file")
    model = load_beside(asked.floating, asked.model, metadata, given, load_float)
    return of_model(model.predict), about_float(model.warnings)


def _named(floating: ModelRequest | Path) -> str:
    return str(floating) if isinstance(floating, Path) else floating.name


def _images(asked: ElsewhereRequest, images: Path, metadata: dict[str, str]) -> ImageFolder:
    """The images, read as the file's own calibration images were."""
    return ImageFolder(
        images,
        Preprocessing.from_metadata(metadata),
        limit=asked.count or COUNT,
        labels=False,
        exif=exif_of(metadata),
        allow_skipped=asked.allow_skipped,
    )


def _examples(folder: ImageFolder | None, spec: GraphInput, count: int | None) -> tuple[Iterator[Example], int]:
    """The inputs, and how many there are."""
    if spec.batch(1) != 1:
        raise MptqError(
            f"input {spec.name} has shape {list(spec.shape)}: other runtimes are run with one input at a time"
        )
    if folder is None:
        return made_up(spec, count or RANDOM), count or RANDOM
    return of_images(folder, spec), len(folder)
