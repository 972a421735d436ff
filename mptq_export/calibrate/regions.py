"""What the heads of a detector's second stage are calibrated on: regions that the stages before cut out of pictures.

The stages before may be float or finished files. Of each picture regions of some ranks are taken: the best ones, on
which the result depends, and others, of which there are many more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.detect.box_results import box_results
from mptq_export.detect.found import Found
from mptq_export.detect.glue import Network, Networks
from mptq_export.detect.numbers import Floats
from mptq_export.detect.proposals import proposals
from mptq_export.detect.roi_align import pool
from mptq_export.recipe.detector import Detector, Part, Pooling, Regions

#: Pictures that the first stage sees at a time.
_BATCH = 4

#: Ranks by score of the regions of a picture that a head is calibrated on.
_RANKS: dict[Part, tuple[int, ...]] = {"box": (0, 1, 2, 4, 8, 16, 32, 64), "mask": (0, 1, 2, 4)}

#: Fewer regions than this say little of a head.
_FEW = 16


@dataclass(frozen=True)
class Cut:
    """Regions that were cut out.

    Attributes:
        regions: [R, C, rows, columns] float32.
        found: whether they are those that the head sees: where nothing is found in any picture, a mask head gets
            proposals.
        per_picture: how many the head sees of a picture, on average; these are some of them.
    """

    regions: NDArray[np.float32]
    found: bool
    per_picture: float


def cut_regions(detector: Detector, part: Part, networks: Networks, pictures: NDArray[np.float32]) -> Cut:
    """Regions for a head.

    Args:
        detector: of family `rcnn`.
        part: `box` or `mask`.
        networks: the stages before: `first`, and for the mask head `box`.
        pictures: [B, C, H, W] as the first stage takes them.
    """
    maps, boxes = [], []
    for outputs in _outputs(networks.first, pictures):
        boxes.append(_seen(detector, part, outputs, networks.box))
        maps.append(_cut(detector, part, outputs, boxes[-1]))
    per_picture = sum(map(len, boxes)) / max(len(pictures), 1)
    if part == "box" or sum(map(len, maps)) >= _FEW:
        return Cut(np.concatenate(maps), True, per_picture)
    proposed = [
        _cut(detector, part, outputs, proposals(detector, outputs, detector.image))
        for outputs in _outputs(networks.first, pictures)
    ]
    return Cut(np.concatenate([*maps, *proposed]), False, per_picture)


def _outputs(first: Network, pictures: NDArray[np.float32]) -> Iterator[dict[str, Floats]]:
    """What the first stage gives for each picture."""
    for start in range(0, len(pictures), _BATCH):
        outputs = first(pictures[start : start + _BATCH])
        for number in range(len(pictures[start : start + _BATCH])):
            yield {name: values[number] for name, values in outputs.items()}


def _seen(detector: Detector, part: Part, outputs: dict[str, Floats], box: Network | None) -> Found:
    """What a head sees of a picture: proposals, or what the box head finds among them."""
    found = proposals(detector, outputs, detector.image)
    if part == "box" or not len(found):
        return found
    assert box is not None
    regions = _regions(detector)
    scored = box(pool(regions.box_pooling, _maps(outputs), found.boxes))
    return box_results(regions, scored, found.boxes, detector.image)


def _cut(detector: Detector, part: Part, outputs: dict[str, Floats], found: Found) -> Floats:
    """Some of the regions of a picture, cut out for a head."""
    ranks = np.array([rank for rank in _RANKS[part] if rank < len(found)], np.intp)
    return pool(_pooling(detector, part), _maps(outputs), found.boxes[ranks])


def _maps(outputs: dict[str, Floats]) -> dict[str, Floats]:
    start = "features."
    return {name.removeprefix(start): values for name, values in outputs.items() if name.startswith(start)}


def _regions(detector: Detector) -> Regions:
    assert detector.regions is not None
    return detector.regions


def _pooling(detector: Detector, part: Part) -> Pooling:
    regions = _regions(detector)
    pooling = regions.box_pooling if part == "box" else regions.mask_pooling
    assert pooling is not None
    return pooling
