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
    """

    regions: NDArray[np.float32]
    found: bool


def cut_regions(detector: Detector, part: Part, networks: Networks, pictures: NDArray[np.float32]) -> Cut:
    """Regions for a head.

    Args:
        detector: of family `rcnn`.
        part: `box` or `mask`.
        networks: the stages before: `first`, and for the mask head `box`.
        pictures: [B, C, H, W] as the first stage takes them.
    """
    assert detector.regions is not None
    if part == "box":
        seen = [_proposed(detector, outputs, "box") for outputs in _outputs(networks.first, pictures)]
        return Cut(np.concatenate(seen), found=True)
    assert networks.box is not None
    seen = [_found(detector, outputs, networks.box) for outputs in _outputs(networks.first, pictures)]
    if sum(map(len, seen)) >= _FEW:
        return Cut(np.concatenate(seen), found=True)
    others = [_proposed(detector, outputs, "mask") for outputs in _outputs(networks.first, pictures)]
    return Cut(np.concatenate([*seen, *others]), found=False)


def _outputs(first: Network, pictures: NDArray[np.float32]) -> Iterator[dict[str, Floats]]:
    """What the first stage gives for each picture."""
    for start in range(0, len(pictures), _BATCH):
        outputs = first(pictures[start : start + _BATCH])
        for number in range(len(pictures[start : start + _BATCH])):
            yield {name: values[number] for name, values in outputs.items()}


def _proposed(detector: Detector, outputs: dict[str, Floats], part: Part) -> Floats:
    """Proposals of a picture, cut out for a head."""
    boxes = _ranked(proposals(detector, outputs, detector.image), part).boxes
    return pool(_pooling(detector, part), _maps(outputs), boxes)


def _found(detector: Detector, outputs: dict[str, Floats], box: Network) -> Floats:
    """What the box head finds in a picture, cut out for the mask head."""
    regions, maps = _regions(detector), _maps(outputs)
    boxes = proposals(detector, outputs, detector.image).boxes
    pooling = _pooling(detector, "mask")
    if not len(boxes):
        return pool(pooling, maps, boxes)
    results = box_results(regions, box(pool(regions.box_pooling, maps, boxes)), boxes, detector.image)
    return pool(pooling, maps, _ranked(results, "mask").boxes)


def _ranked(found: Found, part: Part) -> Found:
    return found.at(np.array([rank for rank in _RANKS[part] if rank < len(found)], np.intp))


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
