"""The networks of a detector, each with its outputs and with the description that its file has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mptq_export.load.detection.describe import Looked, one_stage, region_of, two_stage
from mptq_export.load.detection.networks import BoxHead, MaskHead, OneStage, Proposals, split_levels
from mptq_export.load.detection.pyramid import BATCH
from mptq_export.recipe.detector import Detector, Family, Pooling
from mptq_export.recipe.outputs import Output, OutputKind
from mptq_export.support.errors import MptqError

#: Of a one-stage detector: its family, and for every output of its head the name and the kind that it has in a file.
_ONE_STAGE: dict[str, tuple[Family, dict[str, tuple[str, OutputKind]]]] = {
    "FCOS": (
        "fcos",
        {
            "cls_logits": ("scores", "scores"),
            "bbox_regression": ("boxes", "boxes"),
            "bbox_ctrness": ("centerness", "scores"),
        },
    ),
    "RetinaNet": ("retinanet", {"cls_logits": ("scores", "scores"), "bbox_regression": ("boxes", "boxes")}),
}


@dataclass(frozen=True)
class Network:
    """One network of a detector, its outputs, and of which part it is; what it takes is pictures, or regions.

    Attributes:
        network: of `networks`.
        detector: the description, with the part.
        outputs: what it gives, in order.
        takes: (C, rows, columns) of a region; None for pictures.
    """

    network: nn.Module
    detector: Detector
    outputs: tuple[Output, ...]
    takes: tuple[int, int, int] | None = None


def networks_of(looked: Looked, family: str) -> list[Network]:
    """All networks of a detector, in the order in which they run.

    Args:
        looked: the detector.
        family: `FCOS`, `RetinaNet`, `FasterRCNN` or `MaskRCNN`.

    Raises:
        MptqError: a head does not give what torchvision's do, or something of the detector cannot be described.
    """
    return [_of_one_stage(looked, family)] if family in _ONE_STAGE else _of_two_stages(looked, family)


def _of_one_stage(looked: Looked, family: str) -> Network:
    name, given = _ONE_STAGE[family]
    module, maps = looked.module, list(looked.maps.values())
    joined = _tried(module, lambda: module.head(maps))
    if not isinstance(joined, dict) or set(joined) != set(given):
        raise MptqError(
            f"the head {type(module.head).__name__} of {type(module).__name__} gives no {', '.join(given)}; use "
            "torchvision's"
        )
    apart = all(
        torch.equal(part, alone)
        for key in given
        for part, alone in zip(split_levels(joined[key], maps), _apart(module, maps, key), strict=True)
    )
    classes = joined["cls_logits"].shape[-1]
    _check_names(looked, classes)
    detector = one_stage(looked, name, classes)
    network = OneStage(module, tuple(given), apart=apart)
    outputs = [Output(f"{kind}.{level}", of) for kind, of in given.values() for level in looked.maps]
    return _checked(Network(network, detector, tuple(outputs)), looked)


def _apart(module: Any, maps: Sequence[Tensor], key: str) -> list[Tensor]:
    with torch.no_grad():
        return [module.head([each])[key] for each in maps]


def _of_two_stages(looked: Looked, family: str) -> list[Network]:
    roi = looked.module.roi_heads
    box_head = BoxHead(looked.module)
    box_takes = region_of(looked, roi.box_roi_pool)
    scores, deltas = _tried(looked.module, lambda: box_head(torch.zeros(BATCH, *box_takes)))
    if scores.dim() != 2 or deltas.shape != (BATCH, 4 * scores.shape[1]):
        raise MptqError(
            f"the box predictor of {type(looked.module).__name__} gives {list(scores.shape)} scores and "
            f"{list(deltas.shape)} deltas of {BATCH} regions; it must give four deltas a score"
        )
    _check_names(looked, scores.shape[1] - 1)
    detector = two_stage(looked, classes=scores.shape[1] - 1)
    assert detector.regions is not None
    pooled = _pooled(detector.regions.box_pooling, detector.regions.mask_pooling)
    first = [Output(f"objectness.{level}", "scores") for level in looked.maps]
    first += [Output(f"deltas.{level}", "boxes") for level in looked.maps]
    first += [Output(f"features.{level}", "map") for level in looked.maps if level in pooled]
    given = tuple(level for level in looked.maps if level in pooled)
    networks = [
        _checked(Network(Proposals(looked.module, given), detector, tuple(first)), looked),
        Network(
            box_head,
            replace(detector, part="box"),
            (Output("scores", "logits"), Output("deltas", "boxes")),
            box_takes,
        ),
    ]
    if family == "MaskRCNN":
        takes = region_of(looked, roi.mask_roi_pool)
        mask_head = MaskHead(looked.module)
        masks = _tried(looked.module, lambda: mask_head(torch.zeros(BATCH, *takes)))
        if masks.dim() != 4 or masks.shape[1] != scores.shape[1]:
            raise MptqError(
                f"the mask predictor of {type(looked.module).__name__} gives {list(masks.shape)} of {BATCH} regions; "
                f"it must give a mask for each of {scores.shape[1]} classes"
            )
        networks.append(Network(mask_head, replace(detector, part="mask"), (Output("masks", "scores"),), takes))
    return networks


def _pooled(box: Pooling, mask: Pooling | None) -> set[str]:
    return {*box.levels, *(mask.levels if mask is not None else ())}


def _checked(network: Network, looked: Looked) -> Network:
    """The same, if it gives what its description says.

    Raises:
        MptqError: a head has another number of anchors than the generator.
    """
    images = torch.zeros(BATCH, *looked.input_size)
    found = _tried(looked.module, lambda: network.network(images))
    sizes = {level.name: level.size[0] * level.size[1] * len(level.anchors) for level in network.detector.levels}
    for output, tensor in zip(network.outputs, found, strict=True):
        kind, _, level = output.name.partition(".")
        if kind != "features" and tensor.shape[1] != sizes[level]:
            raise MptqError(
                f"the head of {type(looked.module).__name__} gives {tensor.shape[1]} {kind} on the map {level}, which "
                f"has {sizes[level]} anchors; make it for the anchors that its generator gives"
            )
    return network


def _check_names(looked: Looked, classes: int) -> None:
    if looked.names is not None and len(looked.names) != classes:
        raise MptqError(
            f"{len(looked.names)} class names are given, and {type(looked.module).__name__} has {classes} classes"
            "; give one for each, without background"
        )


def _tried(module: Any, run: Callable[[], Any]) -> Any:
    """What a part of a detector gives.

    Raises:
        MptqError: it fails.
    """
    try:
        with torch.no_grad():
            return run()
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MptqError(
            f"a head of {type(module).__name__} cannot take the maps of its backbone ({first}); mend it there"
        ) from error
