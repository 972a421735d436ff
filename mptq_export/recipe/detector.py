"""What of a detector is float by nature, as data: where its candidates lie, how boxes are decoded, and what is kept.

A detector's file says it in its metadata, so that whoever runs the file needs nothing else. Of a two-stage detector
each of the three files says all of it, and which of them it is.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from mptq_export.support.errors import MptqError
from mptq_export.support.typed_json import from_json

#: Metadata of an ONNX file that is a detector or a part of one: its `Detector`.
DETECTOR_KEY = "mptq.detector"

#: Metadata of a file that takes regions of maps: the least and the largest number that has a code, as a JSON list.
RANGE_KEY = "mptq.input_range"

Family = Literal["fcos", "retinanet", "rcnn", "set"]
"""`fcos`, `retinanet`: one stage. `rcnn`: Faster or Mask R-CNN. `set`: boxes, each with a class (DETR, YOLOS)."""

Part = Literal["network", "proposals", "box", "mask"]
"""`network`: a detector of one file. Of two stages: `proposals` (backbone, pyramid, RPN), `box`, `mask`."""

#: Metadata of a head's file: the digest of the contents (`onnx_contents.CONTENTS_KEY`) of the first file it is for.
FIRST_KEY = "mptq.first_stage"

#: Metadata of a detector that was joined into one file: of each part the digest of its contents, as JSON.
JOINED_KEY = "mptq.joined"


@dataclass(frozen=True)
class Level:
    """One map of the pyramid, and the candidates on it, in the order of rows, columns and anchors.

    Attributes:
        name: behind the dot in the names of its outputs: `scores.NAME`, `boxes.NAME`, `features.NAME` ...
        size: (rows, columns) of the map.
        stride: (down, right), pixels of the input from one position to the next.
        anchors: boxes (x1, y1, x2, y2) of the position at (0, 0), in pixels; none where the level has no candidates.
    """

    name: str
    size: tuple[int, int]
    stride: tuple[int, int]
    anchors: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Selection:
    """Which candidates are kept.

    Attributes:
        score: a candidate's score must be above it; that of a proposal, as in torchvision, at least it.
        candidates: at most so many of a level are looked at, by score.
        overlap: of two of one class (of one level, for proposals) with a larger intersection over union, the better.
        kept: at most so many of an image.
    """

    score: float
    candidates: int
    overlap: float
    kept: int


@dataclass(frozen=True)
class Pooling:
    """RoIAlign over the pyramid (torchvision's `MultiScaleRoIAlign`; not aligned by half a pixel).

    Attributes:
        levels: names of the levels that it reads, the finest first.
        scales: of each, positions of the map by pixels of the input; powers of two.
        size: (rows, columns) of what is cut out.
        samples: points along either side of a bin; 0 or less for as many as the region has positions.
        canonical_size: a region of this side is read from the level with `canonical_level`.
        canonical_level: that level, as the power of two of its stride.
    """

    levels: tuple[str, ...]
    scales: tuple[float, ...]
    size: tuple[int, int]
    samples: int
    canonical_size: int
    canonical_level: int

    def __post_init__(self) -> None:
        if not self.levels or len(self.levels) != len(self.scales):
            raise ValueError(f"{len(self.levels)} levels with {len(self.scales)} scales")
        if min(*self.scales, *self.size, self.canonical_size) <= 0:
            raise ValueError("a scale or a size of regions is not above 0")


@dataclass(frozen=True)
class Regions:
    """The second stage.

    Attributes:
        box_weights: divisors of the box head's (dx, dy, dw, dh).
        box_pooling: for the box head.
        mask_pooling: for the mask head; None where there is none.
        selection: of the box head's results; `candidates` is not used.
    """

    box_weights: tuple[float, float, float, float]
    box_pooling: Pooling
    mask_pooling: Pooling | None
    selection: Selection


@dataclass(frozen=True)
class Detector:
    """A detector, and which part of it a file is.

    Attributes:
        family: how its outputs are read.
        part: what the file holds.
        image: (height, width) of the input, in pixels.
        classes: how many classes its scores have, without background or "no object". Labels are numbers of scores, as
            in its library: of `rcnn` 1 to `classes`, of the others 0 to `classes` - 1.
        names: of the classes, in the order of their scores; None where nobody says them.
        selection: of the candidates of one stage, of the proposals of two; of `set`, `score` and `kept` alone.
        levels: the pyramid; none of `set`.
        box_weights: divisors of (dx, dy, dw, dh) of the candidates; not used by `fcos`, whose boxes are distances to
            the four sides in sizes of the anchor, nor by `set`.
        smallest: sides of proposals that are shorter, in pixels, are dropped.
        regions: the second stage of `rcnn`.
    """

    family: Family
    part: Part
    image: tuple[int, int]
    classes: int
    names: tuple[str, ...] | None
    selection: Selection
    levels: tuple[Level, ...] = ()
    box_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    smallest: float = 0.0
    regions: Regions | None = None

    def __post_init__(self) -> None:
        if (self.family == "rcnn") != (self.regions is not None):
            raise ValueError("a second stage belongs to family rcnn alone")
        if (self.family == "rcnn") == (self.part == "network"):
            raise ValueError(f"part {self.part} is none of family {self.family}")
        if self.part == "mask" and self.regions is not None and self.regions.mask_pooling is None:
            raise ValueError("there is no mask head")
        if self.names is not None and len(self.names) != self.classes:
            raise ValueError(f"{len(self.names)} names for {self.classes} classes")
        if self.family != "set" and not any(level.anchors for level in self.levels):
            raise ValueError("no level has candidates")
        if min(self.classes, *self.image) < 1:
            raise ValueError(f"{self.classes} classes in images of {self.image}")
        if any(min(*level.size, *level.stride) < 1 for level in self.levels):
            raise ValueError("a level has no positions")
        if self.regions is not None:
            poolings = (self.regions.box_pooling, self.regions.mask_pooling)
            names = {level.name for level in self.levels}
            for pooling in poolings:
                if pooling is not None and not names >= {*pooling.levels}:
                    raise ValueError(f"regions of {', '.join(pooling.levels)}, and there is no such level")


def detector_text(detector: Detector) -> str:
    """A detector as an ONNX file's metadata has it."""
    return json.dumps(asdict(detector))


def takes_regions(metadata: Mapping[str, str]) -> bool:
    """Whether an ONNX file is a head of a detector's second stage: its input is cut out of maps, it is no image.

    Raises:
        MptqError: the metadata is damaged.
    """
    detector = detector_of(metadata)
    return detector is not None and detector.part in ("box", "mask")


def detector_of(metadata: Mapping[str, str]) -> Detector | None:
    """The detector that an ONNX file is of; None where it is of none.

    Raises:
        MptqError: the metadata is damaged.
    """
    if DETECTOR_KEY not in metadata:
        return None
    try:
        return from_json(Detector, json.loads(metadata[DETECTOR_KEY]), DETECTOR_KEY)
    except (ValueError, RecursionError) as error:
        raise MptqError(f"the file's {DETECTOR_KEY} is damaged ({error}); export it again") from error
