"""torchvision where its compiled operators do not fit the installed torch.

That is so when torch is a build for CPUs and torchvision came from another index, which is easily done: `pip install`
sees two versions that belong together. timm then cannot be imported, although it uses none of these operators. So
`loaders.py` imports this module before any that imports timm.
"""

from functools import cache
from importlib import import_module

import torch

from mptq_export.support.errors import MptqError

#: What torchvision gives shapes to at its import, whether it has these operators or not.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_torchvision() -> None:
    """Import torchvision, with its compiled operators or without them.

    Without them they are names alone: a detector that calls one is told so by torchvision.

    Raises:
        MptqError: it cannot be imported for another reason.
    """
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise _refused(error) from error
        _declared()
        try:
            import_module("torchvision")
        except RuntimeError as again:
            raise _refused(again) from again


@cache
def _declared() -> torch.library.Library:
    """The operators as names; they are there as long as this is."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


def _refused(error: RuntimeError) -> MptqError:
    return MptqError(
        f"the installed torchvision does not fit torch {torch.__version__} ({error}); install the version of "
        "torchvision that belongs to it, from the same index"
    )


import_torchvision()
