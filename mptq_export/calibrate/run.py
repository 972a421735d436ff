"""The second stage: a float model and images -> a prepared graph with the statistics of its values."""

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image

from mptq_export.calibrate.calibrated import Calibrated, calibrate_on, torch_device
from mptq_export.calibrate.heads import calibrated_heads
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.capture.graph import Graph
from mptq_export.data.calibration import open_calibration
from mptq_export.data.class_map import names_in_order, read_class_map
from mptq_export.data.given import Given
from mptq_export.data.model_classes import MAP, ModelClasses
from mptq_export.data.reading import Reading
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.settings import NamedClasses
from mptq_export.support.errors import MptqError
from mptq_export.support.limits import check_weights_fit
from mptq_export.support.progress import SILENT, Progress


def calibrate(
    model: LoadedModel,
    images: Any = None,
    *,
    transform: Callable[[Image.Image], Any] | None = None,
    count: int = 128,
    exif: bool = False,
    allow_skipped: bool = False,
    any_range: bool = False,
    class_map: str | Path | None = None,
    device: str | None = None,
    progress: Progress = SILENT,
) -> Calibrated:
    """Capture a model, prepare its graph, and run the calibration inputs through it.

    Args:
        model: what `load` gave.
        images: path of a folder of images, or of an `.npy` or `.npz` of preprocessed float32 NCHW inputs; such an array
            or tensor; a list of files; a data set or an iterable of inputs or batches (a DataLoader, a generator), each
            a tensor, PIL images, a tuple with one of them first, or a dictionary with `pixel_values`, `images`,
            `image` or `img`. None for synthetic images, which cost accuracy.
        transform: from a PIL image to the model's input (channels, height, width), such as torchvision's and timm's;
            None for the model's own preprocessing. For data that holds images or files of them.
        count: at most so many inputs, spread evenly over what has a length and indices, else the first ones.
        exif: turn images as their EXIF orientation says; timm does not, and the file tells it.
        allow_skipped: go on where more than a tenth of the files cannot be read.
        any_range: take arrays whose values are no normalised pixels.
        class_map: file that names the logits, as in `data.class_map`.
        device: torch device that computes; None takes a GPU where there is one.
        progress: hears how far it is.

    Returns:
        What `allocate` and `export` take. It holds all inputs in memory.

    Raises:
        MptqError: the model holds what cannot be captured, the images, the class map or the device cannot be used, or
            memory is too small.
    """
    asked = CalibrationRequest(
        images=Path(images) if isinstance(images, str | PathLike) else None,
        count=count,
        reading=Reading(exif, allow_skipped, any_range),
        class_map=None if class_map is None else Path(class_map),
        device=device,
        given=Given(None if isinstance(images, str | PathLike) else images, transform),
    )
    asked.check()
    return calibrate_model(model, asked, progress)


def calibrate_model(
    model: LoadedModel,
    asked: CalibrationRequest,
    progress: Progress = SILENT,
    check: Callable[[Graph], None] = lambda _graph: None,
) -> Calibrated:
    """`calibrate` with a request that was made and checked already.

    Args:
        model: what `load` gave.
        asked: on what, and how.
        progress: hears how far it is.
        check: looks at the prepared graph before the inputs run through it, and raises `MptqError` where they need not.
    """
    check_weights_fit(sum(each.parameters for each in (model, *model.heads)))
    torch_device(asked.device)
    if asked.class_map is not None and model.logits is None and model.detector is None:
        given = "feature maps" if model.features else " and ".join(each.name for each in model.outputs)
        raise MptqError(f"--class-map {asked.class_map} names classes, and {given} have none; leave it out")
    classes = _of_detector(asked.class_map, model)
    source = open_calibration(
        asked.images, model.preprocessing, count=asked.count, reading=asked.reading, given=asked.given
    )
    first = calibrate_on(source, model, asked, progress, check)
    if model.heads:
        first = replace(first, heads=calibrated_heads(first, progress, check))
    return first if classes is None else _named(first, classes)


def _named(calibrated: Calibrated, classes: ModelClasses) -> Calibrated:
    """A detector and its heads with the names of its classes."""
    return replace(calibrated, classes=classes, heads=tuple(_named(head, classes) for head in calibrated.heads))


def _of_detector(class_map: Path | None, model: LoadedModel) -> ModelClasses | None:
    """What the classes of a detector are called, where a file says it: in the order of the scores, no background.

    Raises:
        MptqError: the class map does not name every class once.
    """
    if class_map is None or model.detector is None:
        return None
    names = names_in_order(class_map, read_class_map(class_map), model.detector.classes)
    return ModelClasses(NamedClasses(names, MAP))
