"""The second stage: a float model and images -> a prepared graph with the statistics of its values."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.calibrate.statistics import Statistics, collect
from mptq_export.capture.compare_batches import BATCHES, check_capture, probe_images
from mptq_export.capture.deferred import deferring_scores
from mptq_export.capture.graph import Graph
from mptq_export.capture.liveness import values_at_once
from mptq_export.capture.run import capture
from mptq_export.data.calibration import open_calibration
from mptq_export.data.given import Given
from mptq_export.data.model_classes import ModelClasses, name_classes
from mptq_export.data.reading import Reading
from mptq_export.data.sources.source import CalibrationSource
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.outputs import AXES
from mptq_export.support.errors import MptqError
from mptq_export.support.limits import check_memory, check_weights_fit
from mptq_export.support.progress import SILENT, Progress, tracked
from mptq_export.transform.prepare import prepare

#: Images a calibration step; bounds the memory of the activations.
BATCH = 8

#: Pixels of the calibration inputs may leave [0, 255] by this much before the inputs count as "not 8-bit pixels".
PIXEL_SLACK = 4.0


@dataclass(frozen=True)
class Calibrated:
    """A model that is ready to be quantized, as often as one likes.

    Attributes:
        loaded: the model as read.
        source: the calibration inputs.
        graph: prepared canonical graph, on the device of the calibration.
        stats: ranges of its values.
        images: float32 calibration inputs, all of them, on that device.
        values_at_once: numbers of one image that a walk through the graph holds at a time.
        pixel_inputs: whether they are normalised 8-bit pixels.
        asked: where they come from and how they were read.
        classes: what the classes are called; no names where it gives no logits.
    """

    loaded: LoadedModel
    source: CalibrationSource
    graph: Graph
    stats: Statistics
    images: torch.Tensor
    values_at_once: int
    pixel_inputs: bool
    asked: CalibrationRequest
    classes: ModelClasses


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
    check_weights_fit(model.parameters)
    device, preprocessing = torch_device(asked.device), model.preprocessing
    if asked.class_map is not None and model.logits is None:
        given = "feature maps" if model.features else " and ".join(each.name for each in model.outputs)
        raise MptqError(f"--class-map {asked.class_map} names classes, and {given} have none; leave it out")
    source = open_calibration(asked.images, preprocessing, count=asked.count, reading=asked.reading, given=asked.given)
    probe = probe_images(torch.from_numpy(next(iter(source.batches(max(BATCHES))))))
    captured = capture(model.model, preprocessing.input_size, model.outputs)
    _check_axes(captured)
    check_capture(captured, model.model, probe)
    steps = -(-source.count // BATCH)

    def run(normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None) -> tuple[Graph, int, Statistics]:
        graph = prepare(captured, probe, normalisation)
        check(graph)
        held = values_at_once(graph, deferring_scores(graph, source.count).names)
        if device == "cpu":
            needed = source.count * held * 4
            check_memory(f"calibrating on {source.count} images", needed, "use fewer images (--count)")
        batches = tracked(source.batches(BATCH), progress, "calibrating", steps)
        return graph, held, collect(graph, batches, device)

    classes = ModelClasses(None)
    if model.logits is not None:
        logits = captured[[*captured.outputs.values()][model.logits]].shape.dims[-1]
        folders = () if model.class_map else source.folders  # else their order says nothing of the logits
        classes = name_classes(asked.images, folders, logits, model.class_names, asked.class_map)
        source = replace(source, warnings=(*source.warnings, *classes.warnings))
    graph, held, stats = run((preprocessing.mean, preprocessing.std))
    seen = stats.values.get("pixels")
    pixel_inputs = seen is None or (seen.low >= -PIXEL_SLACK and seen.high <= 255 + PIXEL_SLACK)
    if not pixel_inputs:
        graph, held, stats = run(None)
    if source.held is None:
        inputs = torch.cat([torch.from_numpy(batch).to(device) for batch in source.batches(BATCH)])
    else:
        inputs = torch.from_numpy(source.held).to(device)
    return Calibrated(
        loaded=model,
        source=source,
        graph=graph.to(device),
        stats=stats,
        images=inputs,
        values_at_once=held,
        pixel_inputs=pixel_inputs,
        asked=asked,
        classes=classes,
    )


def _check_axes(graph: Graph) -> None:
    """Refuse an output that has not the axes of its kind."""
    for output, value in zip(graph.given, graph.outputs.values(), strict=True):
        dims = graph[value].shape.dims
        if len(dims) != AXES.get(output.kind, len(dims)):
            sizes = " x ".join(map(str, dims[1:]))
            raise MptqError(
                f"the output {output.name} is B x {sizes}, and {output.kind} have {AXES[output.kind]} axes; say of "
                "what kind it is, or choose others with --outputs"
            )


def torch_device(name: str | None) -> str:
    """The torch device for calibration.

    Raises:
        MptqError: torch does not know it, or it is not there.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MptqError(f"--device {name} cannot be used ({str(error).splitlines()[0]}); try --device cpu") from error
    return name
