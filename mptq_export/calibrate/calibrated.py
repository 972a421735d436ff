"""A float model with a prepared graph and the statistics of its values, and how it comes from inputs of any kind."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.calibrate.statistics import Statistics, collect
from mptq_export.capture.compare_batches import BATCHES, check_capture, probe_images
from mptq_export.capture.deferred import deferring_scores
from mptq_export.capture.graph import Graph
from mptq_export.capture.liveness import values_at_once
from mptq_export.capture.run import capture
from mptq_export.data.model_classes import ModelClasses, name_classes
from mptq_export.data.sources.source import CalibrationSource
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.outputs import AXES
from mptq_export.support.errors import MptqError
from mptq_export.support.limits import check_memory
from mptq_export.support.mapped import check_waiting, memory_for_waiting
from mptq_export.support.progress import Progress, tracked, undivided
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
        per_picture: of a detector's head how many inputs it has of a picture, on average; else 1.
        heads: of a detector the networks of its second stage, calibrated on regions of the float stages before.
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
    per_picture: float = 1.0
    heads: "tuple[Calibrated, ...]" = ()


def calibrate_on(
    source: CalibrationSource,
    model: LoadedModel,
    asked: CalibrationRequest,
    progress: Progress,
    check: Callable[[Graph], None],
) -> Calibrated:
    """Capture a model, prepare its graph, and run inputs through it.

    Args:
        source: the inputs.
        model: what `load` gave, or a head of it.
        asked: how the inputs were asked for.
        progress: hears how far it is.
        check: looks at the prepared graph before the inputs run through it, and raises `MptqError` where they need not.

    Raises:
        MptqError: the model holds what cannot be captured, or memory is too small.
    """
    device, preprocessing = torch_device(asked.device), model.preprocessing
    with undivided(progress, "capturing"):
        probe = probe_images(torch.from_numpy(next(iter(source.batches(max(BATCHES))))))
        captured = capture(model.model, preprocessing.input_size, model.outputs)
        _check_axes(captured)
        check_capture(captured, model.model, probe)
    steps = -(-source.count // BATCH)

    def run(normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None) -> tuple[Graph, int, Statistics]:
        with undivided(progress, "preparing"):
            graph = prepare(captured, probe, normalisation)
            check(graph)
        held = values_at_once(graph, deferring_scores(graph, source.count).names)
        what, advice = f"calibrating on {source.count} images", "use fewer images (--count)"
        if device == "cpu":
            check_memory(what, source.count * math.prod(graph.input.shape.dims) * 4, advice)
            check_waiting(what, source.count * held * 4, advice, memory_for_waiting())
        batches = tracked(source.batches(BATCH), progress, "calibrating", steps)
        return graph, held, collect(graph, batches, device)

    classes = ModelClasses(None)
    if model.logits is not None and not model.takes_regions:
        logits = captured[[*captured.outputs.values()][model.logits]].shape.dims[-1]
        folders = () if model.class_map else source.folders  # else their order says nothing of the logits
        classes = name_classes(asked.images, folders, logits, model.class_names, asked.class_map)
        source = replace(source, warnings=(*source.warnings, *classes.warnings))
    graph, held, stats = run(None if model.takes_regions else (preprocessing.mean, preprocessing.std))
    seen = stats.values.get("pixels")
    pixel_inputs = seen is None or (seen.low >= -PIXEL_SLACK and seen.high <= 255 + PIXEL_SLACK)
    if not pixel_inputs:
        graph, held, stats = run(None)
    if source.held is None:
        batches = tracked(source.batches(BATCH), progress, "reading the images", steps)
        inputs = torch.cat([torch.from_numpy(batch).to(device) for batch in batches])
    else:
        inputs = torch.from_numpy(source.held).to(device)
    return Calibrated(
        loaded=model,
        source=source,
        graph=graph.to(device),
        stats=stats,
        images=inputs,
        values_at_once=held,
        pixel_inputs=pixel_inputs and not model.takes_regions,
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
