"""Whether a module is a detector of torchvision's, and whether it computes as torchvision's own do.

What is float by nature (anchors, decoding, the choice among candidates) is described by the settings of the module, not
by its code. A class that does any of it in another way would be described wrongly, so it is refused.
"""

from collections.abc import Iterable
from typing import Any

from torch import nn

from mptq_export.support.errors import MptqError

_HOME = "torchvision.models.detection."

#: Those that can be exported.
_KNOWN = ("FCOS", "RetinaNet", "FasterRCNN", "MaskRCNN")

#: What the description takes for granted, by the class that has it: methods that a subclass must leave alone.
_RESULTS = ("forward", "postprocess_detections", "eager_outputs")
_TRANSFORM = ("forward", "normalize", "resize", "batch_images", "postprocess")


def is_detector(module: nn.Module) -> bool:
    """Whether a module is one of torchvision's detectors, or of a class made from one."""
    return _family(module) is not None


def family_of(module: Any) -> str:
    """Which detector it is: `FCOS`, `RetinaNet`, `FasterRCNN` or `MaskRCNN`.

    Raises:
        MptqError: it is another one, or computes its results in a way of its own.
    """
    # Only where a module is torchvision's: the import takes a second.
    from torchvision.models.detection import generalized_rcnn, roi_heads, rpn, transform  # noqa: PLC0415

    family, name = _family(module), type(module).__name__
    roi = getattr(module, "roi_heads", None)
    if isinstance(roi, roi_heads.RoIHeads) and roi.has_keypoint():
        raise MptqError(f"{name} gives keypoints, which cannot be exported; make it without a keypoint head")
    if family not in _KNOWN:
        raise MptqError(f"{name} of torchvision cannot be exported as a detector; those that can are {_listed()}")
    _check_own(module, module.transform, transform.GeneralizedRCNNTransform, _TRANSFORM)
    if family in ("FCOS", "RetinaNet"):
        _check_own(module, module, _class_of(module, family), _RESULTS)
        return family
    _check_own(module, module, generalized_rcnn.GeneralizedRCNN, ("forward", "eager_outputs"))
    _check_own(module, module.rpn, rpn.RegionProposalNetwork, ("forward", "filter_proposals", "_get_top_n_idx"))
    _check_own(module, roi, roi_heads.RoIHeads, ("forward", "postprocess_detections", "has_mask"))
    assert isinstance(roi, roi_heads.RoIHeads)
    return "MaskRCNN" if roi.has_mask() else "FasterRCNN"


def _family(module: nn.Module) -> str | None:
    """The first class of torchvision's that a module is of; None where there is none."""
    return next((kind.__name__ for kind in type(module).__mro__ if _is_whole(kind)), None)


def _is_whole(kind: type) -> bool:
    """Whether a class is a whole detector: it takes images and gives boxes, so that it changes their size first."""
    home = kind.__module__.startswith(_HOME)
    return home and (kind.__name__ in (*_KNOWN, "SSD", "GeneralizedRCNN") or kind.__name__.endswith("RCNN"))


def _class_of(module: nn.Module, family: str) -> type:
    return next(kind for kind in type(module).__mro__ if kind.__name__ == family and kind.__module__.startswith(_HOME))


def _check_own(detector: nn.Module, part: object, kind: type, methods: Iterable[str]) -> None:
    """Refuse a part of another class than torchvision's, or with methods of its own.

    Raises:
        MptqError: it is so.
    """
    what = type(detector).__name__ if part is detector else f"{type(part).__name__} of {type(detector).__name__}"
    if not isinstance(part, kind):
        raise MptqError(f"{what} is not made from torchvision's {kind.__name__}; use that, or a subclass of it")
    own = [name for name in methods if name in vars(part) or getattr(type(part), name) is not getattr(kind, name)]
    if own:
        raise MptqError(
            f"{what} has its own {own[0]}: what it does there cannot be described; use torchvision's {kind.__name__}, "
            "or export the network alone as a module whose forward takes images"
        )


def _listed() -> str:
    return f"{', '.join(_KNOWN[:-1])} and {_KNOWN[-1]}"
