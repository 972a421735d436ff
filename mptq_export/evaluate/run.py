"""The evaluation of a written file on a folder of images, alone or beside its float model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnxruntime as ort

from mptq_export.data.class_names import ClassNames
from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.evaluate.beside import LoadFloat, load_beside
from mptq_export.evaluate.data import about_data, about_float, check_numbered, names_for, turns_for
from mptq_export.evaluate.edge import Elsewhere, RanIn
from mptq_export.evaluate.given import Given
from mptq_export.evaluate.kept import KeptOutputs
from mptq_export.evaluate.logits import EvalReport
from mptq_export.evaluate.metrics import Labels
from mptq_export.evaluate.outputs import OutputReport, OutputsReport, PredictOutputs, evaluate_outputs, onnx_outputs
from mptq_export.evaluate.request import EvalRequest
from mptq_export.evaluate.told import Told
from mptq_export.evaluate.worst_images import with_pictures
from mptq_export.runtime.edge.form import check_form
from mptq_export.runtime.edge.opening import check_runtime, open_edge
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import Normalize
from mptq_export.runtime.session import open_session
from mptq_export.support.hashes import sha256_of
from mptq_export.support.json_files import Json
from mptq_export.support.progress import SILENT, Progress, tracked


@dataclass(frozen=True)
class Evaluated(Told):
    """What was found.

    Attributes:
        report: by output.
        labels: how the images got their labels, for people; None where they have none.
        about: the file and the images, as plain JSON values, with what the user should know as `warnings`.
        ran_in: the runtime that was asked for; None for onnxruntime on this CPU.
    """

    report: OutputsReport
    labels: str | None
    about: dict[str, Json]
    ran_in: RanIn | None = None

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON values."""
        return self.with_origin(self.report.to_json())


def evaluate_file(
    asked: EvalRequest, metadata: Mapping[str, str], load_float: LoadFloat, progress: Progress = SILENT
) -> Evaluated:
    """Run a file, and its float model on the same pixels, over a folder.

    Args:
        asked: what, on what.
        metadata: of the file.
        load_float: loads `asked.checkpoint`; called where there is one.
        progress: hears how far it is.

    Raises:
        MptqError: the file is not one of this program, it and the float model do not belong together, the folder has no
            images or other classes, or nothing can be measured without a float model or classes.
    """
    if asked.runtime is not None:
        check_runtime(asked.runtime, asked.options)
        check_form(asked.model, metadata, asked.runtime)
    preprocessing = Preprocessing.from_metadata(metadata)
    session = open_session(asked.model)
    given = Given.by(metadata, session)
    size = graph_input(session).batch(asked.batch if asked.runtime is None else 1)
    names, notes = names_for(asked.model, metadata, asked.class_map, given.classes, classifies=given.classifies)
    turns, more = turns_for(metadata, asked.exif)
    opened = partial(
        ImageFolder, asked.data, preprocessing, limit=asked.limit, exif=turns, allow_skipped=asked.allow_skipped
    )
    folder = opened(labels=False)  # a first look: in a flat folder there are no labels
    flat = folder.folders == ((),)
    several = () not in folder.folders and len({each[-1] for each in folder.folders}) > 1
    labelled = not flat if given.classifies else several
    if asked.checkpoint is None:
        given.check_alone(asked.model, asked.data, labelled=labelled)
    if given.classifies and labelled:
        folder = opened(labels=True, names=names, logits=given.classes)
    floating = None
    if asked.checkpoint is not None:
        floating = load_beside(asked.checkpoint, asked.model, metadata, given, load_float)
    batches = tracked(folder.batches(size), progress, "evaluating", -(-len(folder) // size))
    outputs = [each.name for each in given.outputs]
    with file_predictor(asked, session, outputs, preprocessing.normalize) as (predict, elsewhere):
        report = evaluate_outputs(
            batches,
            given.outputs,
            predict,
            None if floating is None else floating.predict,
            labels=folder.labels,
            groups=partial(_groups, folder),
        )
    ran_in = None if elsewhere is None else elsewhere.ran_in()
    if report.classes is not None:
        check_numbered(folder, names, report.classes)
    told = () if floating is None else about_float(floating.warnings)
    where = () if ran_in is None else ran_in.warnings
    report = _with_names(report, folder, names)
    about = about_data(folder, (*notes, *more, *told, *where, *report.warnings))
    described = {"model": str(asked.model), "sha256": sha256_of(asked.model)}
    return Evaluated(report, folder.numbering.text if folder.numbering else None, {**described, **about}, ran_in)


@contextmanager
def file_predictor(
    asked: EvalRequest, session: ort.InferenceSession, outputs: Sequence[str], normalize: Normalize
) -> Iterator[tuple[PredictOutputs, Elsewhere | None]]:
    """The file as a function, in the runtime that is asked for.

    Args:
        asked: the file, and where it runs.
        session: of the file.
        outputs: names of those that are wanted.
        normalize: the normalisation that belongs to it.
    """
    if asked.runtime is None:
        yield onnx_outputs(session, outputs, normalize), None
        return
    with closing(open_edge(asked.runtime, asked.model, asked.options)) as opened:
        elsewhere = Elsewhere(opened, graph_input(session), outputs, normalize)
        if asked.resume is None:
            yield elsewhere.predict, elsewhere
            return
        ran = {"model": sha256_of(asked.model), "runtime": f"{opened.name} {opened.version}", "device": opened.device}
        with KeptOutputs.open(asked.resume, ran) as kept:
            yield kept.around(elsewhere.predict), elsewhere


def _with_names(report: OutputsReport, folder: ImageFolder, names: ClassNames | None) -> OutputsReport:
    """The same with classes by name, and pictures of the worst images: the folder's own names where it has classes."""
    known = {} if names is None else {number: name for name, number in names.numbers.items()}
    if folder.numbering is not None:
        known |= {number: "/".join(folders) for folders, number in folder.numbering.labels.items()}

    def named(each: OutputReport) -> OutputReport:
        if not isinstance(each, EvalReport):
            return each
        by_class = tuple(replace(own, name=known.get(own.label, str(own.label))) for own in each.by_class)
        return replace(each, by_class=by_class, worst=with_pictures(each.worst, folder, known))

    return replace(report, outputs=tuple(map(named, report.outputs)))


def _groups(folder: ImageFolder) -> Labels | None:
    """A number for the class of every image that was read, by the folder that holds it; None where some lie in none."""
    if () in folder.folders:
        return None
    held = [file.parent.name for file in folder.files]
    names = sorted({*held})
    return np.array([names.index(name) for name in held])
