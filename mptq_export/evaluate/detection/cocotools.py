"""pycocotools, which is optional: without it there is one line that says what to do."""

from dataclasses import dataclass
from typing import Any

from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class CocoTools:
    """What is used of it.

    Attributes:
        coco: the class of a data set, `pycocotools.coco.COCO`.
        judge: the class that judges, `pycocotools.cocoeval.COCOeval`.
        mask: the module that reads and writes masks, `pycocotools.mask`.
    """

    coco: Any
    judge: Any
    mask: Any


def cocotools() -> CocoTools:
    """The library.

    Raises:
        MptqError: it is not installed, or does not fit the installed NumPy.
    """
    try:
        from pycocotools import mask  # noqa: PLC0415 - optional
        from pycocotools.coco import COCO  # noqa: PLC0415
        from pycocotools.cocoeval import COCOeval  # noqa: PLC0415
    except (ImportError, ValueError) as error:  # ValueError: built for another NumPy
        raise MptqError(
            f"average precision is computed by pycocotools, which cannot be imported ({error}); install it with "
            "pip install 'mptq-export[detection]'"
        ) from error
    return CocoTools(COCO, COCOeval, mask)
