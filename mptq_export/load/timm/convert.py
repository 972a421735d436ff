"""timm's conversion of other projects' checkpoints, every value followed (see `follow_values`)."""

import contextlib
import io
import sys
from collections.abc import Mapping

from torch import Tensor, nn

from mptq_export.load.timm.follow_values import Converted, followed

_FAILURES = (KeyError, ValueError, RuntimeError, AttributeError, IndexError, AssertionError, TypeError)
_BIAS_MASK = ".bias_mask"


def convert(tensors: Mapping[str, Tensor], model: nn.Module) -> Converted:
    """Rename as timm does for checkpoints of other projects; unchanged where it knows no way.

    Args:
        tensors: of the checkpoint.
        model: that they shall fit; it may be without memory.
    """
    return followed(masked(tensors), lambda named: _filtered(named, model))


def masked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv3 stores the bias of keys with a mask of zeros: the bias that counts is their product."""
    named = dict(tensors)
    for name, mask in tensors.items():
        bias = name.removesuffix("_mask")
        if name.endswith(_BIAS_MASK) and bias in named and named[bias].shape == mask.shape:
            named[bias] = named[bias] * mask
    return named


def _filtered(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor] | None:
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it could not find
            found = convert(dict(tensors), model)
    except _FAILURES:
        return None
    return found if all(isinstance(tensor, Tensor) for tensor in found.values()) else None
