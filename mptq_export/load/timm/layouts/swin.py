"""Swin and Swin V2 as their authors name them: patches are merged at the end of a stage, timm's at the beginning."""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from mptq_export.load.timm.layouts.layout import Layout

_MERGE = re.compile(r"^layers\.(\d+)\.downsample\.")
_HEAD = re.compile(r"^head\.(?=weight$|bias$)")
_FIRST_MERGE = "layers.0.downsample.reduction.weight"
"""timm's first stage merges nothing."""


def _recognises(names: Collection[str]) -> bool:
    return _FIRST_MERGE in names


def _convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        _HEAD.sub("head.fc.", _MERGE.sub(lambda found: f"layers.{int(found[1]) + 1}.downsample.", name)): tensor
        for name, tensor in tensors.items()
    }


SWIN = Layout("the official Swin", ("swin_transformer", "swin_transformer_v2"), _recognises, _convert, "swin*")
