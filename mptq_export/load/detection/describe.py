"""A detector's settings as a `Detector`: read from the modules themselves, refused where there is no word for one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from mptq_export.load.detection.pyramid import levels_of
from mptq_export.recipe.detector import Detector, Family, Pooling, Regions, Selection
from mptq_export.support.errors import MptqError

#: What torchvision's `BoxCoder` lets a log of a size be at most; every reader of a description takes it for granted.
_LARGEST_LOG = math.log(1000.0 / 16)
_FOUR = 4


@dataclass(frozen=True)
class Looked:
    """A detector that was looked at.

    Attributes:
        module: torchvision's.
        input_size: (C, height, width) of its input, in pixels.
        maps: of its pyramid by name, for some images.
        names: of its classes, if they are known.
    """

    module: Any
    input_size: tuple[int, int, int]
    maps: Mapping[str, Tensor]
    names: tuple[str, ...] | None

    @property
    def image(self) -> tuple[int, int]:
        """(height, width) of its input."""
        return self.input_size[1:]


def one_stage(looked: Looked, family: Family, classes: int) -> Detector:
    """FCOS or RetinaNet.

    Args:
        looked: the detector.
        family: which of the two.
        classes: how many scores a candidate has.

    Raises:
        MptqError: its boxes are coded in another way.
    """
    module = looked.module
    weights = _linear_coder(module) if family == "fcos" else _box_weights(module, module.box_coder)
    return Detector(
        family=family,
        part="network",
        image=looked.image,
        classes=classes,
        names=looked.names,
        selection=Selection(
            score=float(module.score_thresh),
            candidates=int(module.topk_candidates),
            overlap=float(module.nms_thresh),
            kept=int(module.detections_per_img),
        ),
        levels=levels_of(module.anchor_generator, looked.maps, looked.image),
        box_weights=weights,
    )


def two_stage(looked: Looked, classes: int) -> Detector:
    """Faster or Mask R-CNN; the part is `proposals`.

    Args:
        looked: the detector.
        classes: how many scores a region has, without background.

    Raises:
        MptqError: its boxes are coded, or its regions cut out, in another way.
    """
    rpn, roi = looked.module.rpn, looked.module.roi_heads
    return Detector(
        family="rcnn",
        part="proposals",
        image=looked.image,
        classes=classes,
        names=looked.names,
        selection=Selection(
            score=float(rpn.score_thresh),
            candidates=int(rpn._pre_nms_top_n["testing"]),
            overlap=float(rpn.nms_thresh),
            kept=int(rpn._post_nms_top_n["testing"]),
        ),
        levels=levels_of(rpn.anchor_generator, looked.maps, looked.image),
        box_weights=_box_weights(looked.module, rpn.box_coder),
        smallest=float(rpn.min_size),
        regions=Regions(
            box_weights=_box_weights(looked.module, roi.box_coder),
            box_pooling=_pooling(looked, roi.box_roi_pool),
            mask_pooling=_pooling(looked, roi.mask_roi_pool) if roi.has_mask() else None,
            selection=Selection(
                score=float(roi.score_thresh),
                candidates=0,
                overlap=float(roi.nms_thresh),
                kept=int(roi.detections_per_img),
            ),
        ),
    )


def _linear_coder(detector: Any) -> tuple[float, float, float, float]:
    from torchvision.models.detection._utils import BoxLinearCoder  # noqa: PLC0415 - see `recognise`

    coder = detector.box_coder
    if type(coder) is not BoxLinearCoder or not coder.normalize_by_size:
        raise _unknown_coder(detector, coder, "BoxLinearCoder(normalize_by_size=True)")
    return (1.0, 1.0, 1.0, 1.0)


def _box_weights(detector: Any, coder: Any) -> tuple[float, float, float, float]:
    from torchvision.models.detection._utils import BoxCoder  # noqa: PLC0415 - see `recognise`

    if type(coder) is not BoxCoder or coder.bbox_xform_clip != _LARGEST_LOG or len(coder.weights) != _FOUR:
        raise _unknown_coder(detector, coder, "BoxCoder with its own bbox_xform_clip")
    x, y, width, height = map(float, coder.weights)
    return x, y, width, height


def _unknown_coder(detector: Any, coder: object, wanted: str) -> MptqError:
    return MptqError(
        f"{type(detector).__name__} decodes boxes by a {type(coder).__name__} that cannot be described; use "
        f"torchvision's {wanted}"
    )


def region_of(looked: Looked, pooler: Any) -> tuple[int, int, int]:
    """(C, rows, columns) of what is cut out for a head.

    Raises:
        MptqError: it is cut out in another way than by torchvision's RoIAlign.
    """
    from torchvision.ops import MultiScaleRoIAlign  # noqa: PLC0415 - see `recognise`

    if type(pooler) is not MultiScaleRoIAlign:
        raise MptqError(
            f"{type(looked.module).__name__} cuts regions out by a {type(pooler).__name__}, which cannot be described; "
            "use torchvision's MultiScaleRoIAlign"
        )
    rows, columns = pooler.output_size
    return next(iter(looked.maps.values())).shape[1], int(rows), int(columns)


def _pooling(looked: Looked, pooler: Any) -> Pooling:
    levels = tuple(name for name in looked.maps if name in pooler.featmap_names)
    missing = [name for name in pooler.featmap_names if name not in looked.maps]
    if missing:
        raise MptqError(
            f"{type(looked.module).__name__} cuts regions out of the map {missing[0]}, and its backbone gives "
            f"{', '.join(looked.maps)}; give its MultiScaleRoIAlign these names"
        )
    return Pooling(
        levels=levels,
        scales=_scales(looked, levels),
        size=region_of(looked, pooler)[1:],
        samples=int(pooler.sampling_ratio),
        canonical_size=int(pooler.canonical_scale),
        canonical_level=int(pooler.canonical_level),
    )


def _scales(looked: Looked, levels: Sequence[str]) -> tuple[float, ...]:
    """Positions of each map by pixels of the input: the power of two next to the quotient of the heights."""
    heights = [looked.maps[name].shape[2] for name in levels]
    scales = tuple(2.0 ** round(math.log2(height / looked.image[0])) for height in heights)
    if any(fine != 2 * coarse for fine, coarse in pairwise(scales)):
        raise MptqError(
            f"the maps {', '.join(levels)} of {type(looked.module).__name__} have {scales} positions a pixel; regions "
            "can be cut out of maps of which each has half the size of the one before"
        )
    return scales
