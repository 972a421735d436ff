"""The evaluation of a detector's file on pictures with objects, alone or beside its float model."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from mptq_export.data.class_map import check_numbers, read_class_map
from mptq_export.data.class_names import ClassNames
from mptq_export.data.images import ImageFolder
from mptq_export.data.placement import Placement
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.detect.parts import open_parts
from mptq_export.evaluate.beside import LoadFloat
from mptq_export.evaluate.data import about_data, turns_for
from mptq_export.evaluate.detection.agreement import agreement
from mptq_export.evaluate.detection.average_precision import Kind, Truth
from mptq_export.evaluate.detection.cocotools import cocotools
from mptq_export.evaluate.detection.finders import Finder, check_runtime_for, finders_for
from mptq_export.evaluate.detection.found import FoundObjects, found_objects
from mptq_export.evaluate.detection.kept import KeptDetections
from mptq_export.evaluate.detection.models import heads_of
from mptq_export.evaluate.detection.numbering import numbering_notes
from mptq_export.evaluate.detection.pictures import Scenes, scenes_for
from mptq_export.evaluate.detection.report import DetectionEvaluated, DetectionReport, compare
from mptq_export.evaluate.request import EvalRequest
from mptq_export.recipe.detector import Detector
from mptq_export.runtime.pixels import Pixels
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of
from mptq_export.support.progress import SILENT, Progress, tracked

_Input = tuple[Pixels, Placement]


def evaluate_detector(
    asked: EvalRequest, metadata: Mapping[str, str], load_float: LoadFloat, progress: Progress = SILENT
) -> DetectionEvaluated:
    """Run a detector, and its float model on the same pixels, over a folder.

    Args:
        asked: what, on what.
        metadata: of the file.
        load_float: loads `asked.checkpoint`; called where there is one.
        progress: hears how far it is.

    Raises:
        MptqError: the file is no detector, it and the float model do not belong together, annotations cannot be judged,
            or nothing can be measured without a float model or annotations.
    """
    parts = open_parts(asked.model)
    detector, preprocessing = next(iter(parts.values())).detector, Preprocessing.from_metadata(metadata)
    preprocessing.check_whole()
    check_runtime_for(asked, metadata, detector)
    scenes = scenes_for(asked, detector, _class_map(asked.class_map, detector))
    notes = [*scenes.warnings, *_check_judged(asked, scenes)]
    masks = scenes.judged > 0 and scenes.masks
    if scenes.judged and not masks and "mask" in heads_of(detector, masks=True):
        notes.append("some objects have no mask that can be read: AP is that of boxes alone")
    turns, more = turns_for(metadata, asked.exif)
    folder = ImageFolder(
        scenes.folder, preprocessing, labels=False, exif=turns, allow_skipped=asked.allow_skipped, files=scenes.files
    )
    with ExitStack() as stack:
        finders = finders_for(asked, parts, load_float, stack, masks=masks)
        kept = None if asked.resume is None else stack.enter_context(KeptDetections.open(asked.resume))
        inputs = _inputs(folder, scenes, preprocessing)
        batches = iter(lambda: list(islice(inputs, finders.batch)), [])
        seen: list[tuple[Path, Placement]] = []
        found: list[list[FoundObjects]] = [[] for _ in finders.all]
        for batch in tracked(batches, progress, "evaluating", -(-len(folder) // finders.batch)):
            pixels, placements = np.stack([image for _, (image, _) in batch]), [where for _, (_, where) in batch]
            seen += [(file, where) for file, (_, where) in batch]
            for of_finder, finder in zip(found, finders.all, strict=True):
                of_finder.extend(_find(finder, kept, pixels, placements, masks=masks))
        ran_in = None if finders.elsewhere is None else finders.elsewhere.ran_in()
    truth = Truth([where.picture for _, where in seen], [scenes.on(file) for file, _ in seen], scenes.labels)
    notes += [*more, *finders.warnings, *numbering_notes(truth, found[0], detector)]
    notes += [] if ran_in is None else ran_in.warnings
    about = {
        "model": str(asked.model),
        "sha256": sha256_of(asked.model),
        "files": [str(path) for path in finders.paths],
        **scenes.about,
        **about_data(folder, tuple(notes)),
        "labels": scenes.matched,
    }
    return DetectionEvaluated(_report(truth, scenes, found), about, ran_in)


def _class_map(path: Path | None, detector: Detector) -> ClassNames | None:
    """Names of the scores that the user gave."""
    if path is None:
        return None
    numbers = read_class_map(path)
    check_numbers(path, numbers, detector.classes)
    return ClassNames(numbers, f"--class-map {path}")


def _check_judged(asked: EvalRequest, scenes: Scenes) -> tuple[str, ...]:
    """What to tell where no average precision can be given; where it can, that pycocotools is there.

    Raises:
        MptqError: nothing can be measured, or pycocotools is not installed.
    """
    if scenes.judged:
        cocotools()
        return ()
    if scenes.objects is None:
        what, wanted = f"{asked.data} has no annotations", "--annotations FILE in COCO's format"
    else:
        what, wanted = f"no picture of {asked.data} has an object to find", "annotations with objects"
    if asked.checkpoint is None:
        raise MptqError(f"{what}, so nothing can be said of the file alone; give {wanted}, or --float to compare with")
    return (f"{what}: there is no average precision, the file is compared with the float model alone",)


def _inputs(folder: ImageFolder, scenes: Scenes, preprocessing: Preprocessing) -> Iterator[tuple[Path, _Input]]:
    """Every picture that can be used, as pixels; one of another size than annotations say is left out."""

    def convert(file: Path, image: Image.Image) -> _Input:
        size = image.height, image.width
        said = scenes.sizes.get(file, size)
        if said != size:
            raise ValueError(f"it is {size[1]}x{size[0]}, its annotations are for {said[1]}x{said[0]}")
        return preprocessing.transform_uint8(image), preprocessing.placement(size)

    return folder.with_files(convert)


def _find(
    finder: Finder, kept: KeptDetections | None, pixels: Pixels, placements: list[Placement], *, masks: bool
) -> list[FoundObjects]:
    if kept is not None:
        return kept.find(finder, pixels, placements, masks=masks)
    return [found_objects(each, masks=masks) for each in finder.detect(pixels, placements)]


def _report(truth: Truth, scenes: Scenes, found: list[list[FoundObjects]]) -> DetectionReport:
    quantised, floating = found[0], found[1] if len(found) > 1 else None
    objects = [each for some in truth.objects for each in some]
    to_find = sum(not each.crowd for each in objects)
    with_masks = scenes.masks and all(each.masks is not None for each in quantised)
    kinds: list[Kind] = [] if not to_find else ["box", "mask"] if with_masks else ["box"]
    return DetectionReport(
        images=len(truth.sizes),
        objects=None if scenes.objects is None else to_find,
        crowds=len(objects) - to_find,
        empty=sum(not some for some in truth.objects) if scenes.objects is not None else 0,
        categories=len({each.category for each in objects}),
        precision=tuple(compare(truth, scenes.names, quantised, floating, kind) for kind in kinds),
        found_again=None if floating is None else agreement(quantised, floating),
    )
