"""From a detector's networks to detections: the same for quantized files, a float file and a network in torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.placement import Placement
from mptq_export.detect.box_results import box_results
from mptq_export.detect.detections import Detections
from mptq_export.detect.found import Found
from mptq_export.detect.mask_results import mask_maps
from mptq_export.detect.numbers import Floats
from mptq_export.detect.one_stage import one_stage
from mptq_export.detect.proposals import proposals
from mptq_export.detect.roi_align import pool
from mptq_export.detect.set_prediction import set_prediction
from mptq_export.recipe.detector import Detector

Network = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]
"""A part of a detector: its one input, a batch, to its outputs by their names."""


@dataclass(frozen=True)
class Networks:
    """All that a detector computes in networks.

    Attributes:
        first: images [B, 3, height, width] as the model takes them, to the outputs of part `network` or `proposals`.
        box: `features` [R, channels, rows, columns] to `scores` and `deltas`; of two stages.
        mask: `features` to `masks`; None where there is no mask head, or nobody wants masks.
    """

    first: Network
    box: Network | None = None
    mask: Network | None = None


def detect(
    detector: Detector, networks: Networks, inputs: NDArray[np.float32], placements: Sequence[Placement]
) -> list[Detections]:
    """What a detector finds in a batch.

    Args:
        detector: how outputs are read.
        networks: what computes them.
        inputs: as `networks.first` takes them, the batch first.
        placements: [B] where each picture lies in its input.

    Returns:
        [B].
    """
    outputs = networks.first(inputs)
    results = []
    for number, placement in enumerate(placements):
        results.append(
            _of_one(detector, networks, {name: values[number] for name, values in outputs.items()}, placement)
        )
    return results


def _of_one(detector: Detector, networks: Networks, outputs: Mapping[str, Floats], placement: Placement) -> Detections:
    """What is found in one input, from the outputs of the first network."""
    small_masks: Floats | None = None
    if detector.regions is not None:
        found, small_masks = _second_stage(detector, networks, outputs, placement.inside)
    elif detector.family == "set":
        found = set_prediction(detector, outputs)
    else:
        found = one_stage(detector, outputs, placement.inside)
    boxes = placement.to_picture(found.boxes)
    names = None if detector.names is None else tuple(detector.names[index] for index in class_indices(detector, found))
    return Detections(placement.picture, boxes, found.scores, found.labels, names, small_masks)


def _second_stage(
    detector: Detector, networks: Networks, outputs: Mapping[str, Floats], inside: tuple[int, int]
) -> tuple[Found, Floats | None]:
    """Boxes and small masks of one input. A head never sees an empty batch."""
    regions = detector.regions
    assert regions is not None and networks.box is not None
    features = {
        name.removeprefix("features."): values for name, values in outputs.items() if name.startswith("features.")
    }
    candidates = proposals(detector, outputs, inside).boxes
    if not len(candidates):
        return Found(candidates, np.zeros(0, np.float32), np.zeros(0, np.int64)), _no_masks(networks)
    found = box_results(regions, networks.box(pool(regions.box_pooling, features, candidates)), candidates, inside)
    if networks.mask is None or regions.mask_pooling is None:
        return found, None
    if not len(found):
        return found, _no_masks(networks)
    masks = networks.mask(pool(regions.mask_pooling, features, found.boxes))["masks"]
    return found, mask_maps(masks, found.labels)


def _no_masks(networks: Networks) -> Floats | None:
    return None if networks.mask is None else np.zeros((0, 1, 1), np.float32)


def class_indices(detector: Detector, found: Found) -> NDArray[np.int64]:
    """Numbers from 0 of the classes: labels of two stages begin at 1."""
    return found.labels - 1 if detector.family == "rcnn" else found.labels
