"""The evaluation of a map of classes on pictures with label maps, alone or beside its float model.

Logits are resized to the size of the picture (bilinear, pixels as areas), and the largest names the class, as is usual.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime as ort

from mptq_export.data.class_map import names_in_order, read_class_map
from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.evaluate.beside import LoadFloat, load_beside
from mptq_export.evaluate.data import about_data, about_float, turns_for
from mptq_export.evaluate.given import Given
from mptq_export.evaluate.outputs import PredictOutputs
from mptq_export.evaluate.request import EvalRequest
from mptq_export.evaluate.run import file_predictor
from mptq_export.evaluate.segmentation.overlap import PictureOverlaps
from mptq_export.evaluate.segmentation.pictures import Labelled, labelled_folder
from mptq_export.evaluate.segmentation.report import SegmentationEvaluated, Tally, report_of
from mptq_export.recipe.outputs import Output
from mptq_export.runtime.edge.form import check_form
from mptq_export.runtime.edge.opening import check_runtime
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of
from mptq_export.support.progress import SILENT, Progress, tracked


def evaluate_segmentation(
    asked: EvalRequest, metadata: Mapping[str, str], load_float: LoadFloat, progress: Progress = SILENT
) -> SegmentationEvaluated:
    """Run a file, and its float model on the same pixels, over a folder.

    Args:
        asked: what, on what.
        metadata: of the file.
        load_float: loads `asked.checkpoint`; called where there is one.
        progress: hears how far it is.

    Raises:
        MptqError: the file gives no map of classes, it and the float model do not belong together, label maps cannot be
            used, or nothing can be measured without a float model or label maps.
    """
    if asked.runtime is not None:
        check_runtime(asked.runtime, asked.options)
        check_form(asked.model, metadata, asked.runtime)
    preprocessing = Preprocessing.from_metadata(metadata)
    preprocessing.check_whole()
    session = open_session(asked.model)
    given = Given.by(metadata, session)
    output = _map_of(asked.model, given)
    classes = _classes(asked.model, session, output)
    names = None
    if asked.class_map is not None:
        names = names_in_order(asked.class_map, read_class_map(asked.class_map), classes)
    labelled = labelled_folder(asked, classes)
    if labelled.labels.maps:
        labelled.labels.check(labelled.files, progress)
    turns, more = turns_for(metadata, asked.exif)
    images = ImageFolder(
        labelled.folder,
        preprocessing,
        labels=False,
        exif=turns,
        allow_skipped=asked.allow_skipped,
        files=labelled.files,
    )
    floating = None
    if asked.checkpoint is not None:
        floating = load_beside(asked.checkpoint, asked.model, metadata, given, load_float)
    size = graph_input(session).batch(asked.batch if asked.runtime is None else 1)
    pictures = labelled.read(images, preprocessing)
    batches = iter(lambda: list(islice(pictures, size)), [])
    with file_predictor(asked, session, [output.name], preprocessing.normalize) as (predict, elsewhere):
        place = given.outputs.index(output)
        exact = None if floating is None else _alone(floating.predict, place)
        tally = _Counting(classes, predict, exact).of(tracked(batches, progress, "evaluating", -(-len(images) // size)))
    ran_in = None if elsewhere is None else elsewhere.ran_in()
    told = () if floating is None else about_float(floating.warnings)
    where = () if ran_in is None else ran_in.warnings
    if tally.quantised is not None and not tally.quantised.labelled.any():
        raise MptqError(f"no pixel of {asked.data} has a class; --ignore {asked.ignore} stands for none of them")
    about = {
        "model": str(asked.model),
        "sha256": sha256_of(asked.model),
        "output": output.name,
        "upsampling": "bilinear",
        "ignore": asked.ignore,
        "first_label": asked.first_label,
        "without_label_map": labelled.without,
        **about_data(images, (*labelled.warnings, *more, *told, *where)),
    }
    return SegmentationEvaluated(report_of(tally, classes, names), about, ran_in)


def _map_of(model: Path, given: Given) -> Output:
    """The output that holds a value of every class for every place.

    Raises:
        MptqError: there is none, or several could be it.
    """
    maps = [each for each in given.outputs if each.kind == "map"]
    if len(maps) == 1:
        return maps[0]
    named = ", ".join(each.name for each in given.outputs)
    what = f"several maps ({', '.join(each.name for each in maps)})" if maps else f"no map of classes, but {named}"
    raise MptqError(f"{model} gives {what}; export it with --outputs NAME, or NAME=map, of the one map of classes")


def _classes(model: Path, session: ort.InferenceSession, output: Output) -> int:
    """How many classes a map has.

    Raises:
        MptqError: the file does not say it, or there is one, which tells nothing apart.
    """
    shape = next((entry.shape for entry in session.get_outputs() if entry.name == output.name), None)
    classes = shape[1] if shape is not None and len(shape) == 4 else None
    if not isinstance(classes, int) or classes < 2:
        raise MptqError(
            f"{output.name} of {model} has shape {shape}, not [images, classes, rows, columns] of two classes or more; "
            "leave --task out to compare it with the float model"
        )
    return classes


def _alone(predict: PredictOutputs, place: int) -> PredictOutputs:
    """One of several outputs."""
    return lambda pixels: [predict(pixels)[place]]


class _Counting:
    """Counts pixels of pictures, batch by batch."""

    def __init__(self, classes: int, quantised: PredictOutputs, floating: PredictOutputs | None) -> None:
        """Nothing is run yet.

        Args:
            classes: how many there are.
            quantised: gives the map alone.
            floating: the same; None without a float model.
        """
        self._classes, self._quantised, self._floating = classes, quantised, floating

    def of(self, batches: Iterable[list[Labelled]]) -> Tally:
        """Run both on all pictures."""
        images = pixels = same = 0
        found: list[PictureOverlaps] = []
        exact: list[PictureOverlaps] = []
        for batch in batches:
            stacked = np.stack([each.pixels for each in batch])
            maps = self._quantised(stacked)[0]
            float_maps = None if self._floating is None else self._floating(stacked)[0]
            if float_maps is not None and float_maps.shape != maps.shape:
                raise MptqError(
                    f"the map is {list(maps.shape)} in the ONNX file and {list(float_maps.shape)} in the float model: "
                    "they are not the same model; name the checkpoint that was exported"
                )
            for number, each in enumerate(batch):
                images += 1
                given = each.placement.classes_on_picture(maps[number])
                pixels += given.size
                if each.classes is not None:
                    found.append(PictureOverlaps.of_one(*each.classes, given, self._classes))
                if float_maps is not None:
                    other = each.placement.classes_on_picture(float_maps[number])
                    same += int((other == given).sum())
                    if each.classes is not None:
                        exact.append(PictureOverlaps.of_one(*each.classes, other, self._classes))
        return Tally(
            images,
            pixels,
            None if self._floating is None else same,
            PictureOverlaps.joined(found) if found else None,
            PictureOverlaps.joined(exact) if exact else None,
        )
