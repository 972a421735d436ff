"""ViTDet's backbone as detectron2 names it: the vision transformer of Segment Anything, without its neck.

The pyramid and the detector behind it are left out. Its positions are those of pretraining, for another image and with
one for the class token: the original leaves that one out and resamples the others to the image's patches whenever it
runs, bicubic; so does this, once. Windows, blocks of global attention, heads and image size show in the shapes of the
relative positions.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from mptq_export.load.timm.layouts.layout import Layout

ARCH = "samvit_base_patch16"
_NET = re.compile(r"^(backbone\.)?net\.")
_BIAS = re.compile(r"^(backbone\.)?net\.blocks\.(\d+)\.attn\.rel_pos_h$")
_POSITIONS = "pos_embed"


def _recognises(names: Collection[str]) -> bool:
    return any(_BIAS.match(name) for name in names)


def _grid(tensors: Mapping[str, Tensor]) -> int:
    """Patches along a side: a relative position for every distance within them."""
    return max((len(tensor) + 1) // 2 for name, tensor in tensors.items() if _BIAS.match(name))


def _convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {_NET.sub("", name): tensor for name, tensor in tensors.items()}
    positions = found.get(_POSITIONS)
    if positions is not None and positions.dim() == 3:
        found[_POSITIONS] = _resampled(positions, _grid(tensors))
    return found


def _resampled(positions: Tensor, side: int) -> Tensor:
    """[1, positions, channels] to [1, side, side, channels], as detectron2 does it."""
    own = math.isqrt(positions.shape[1])
    square = positions[:, -own * own :].reshape(1, own, own, -1).permute(0, 3, 1, 2)
    if own != side:
        square = nn.functional.interpolate(square, size=(side, side), mode="bicubic", align_corners=False)
    return square.permute(0, 2, 3, 1)


def _built(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The architecture and its arguments."""
    sides = {int(found[2]): (len(t) + 1) // 2 for name, t in tensors.items() if (found := _BIAS.match(name))}
    named = {_NET.sub("", name): tensor for name, tensor in tensors.items()}
    patch, grid = named["patch_embed.proj.weight"], max(sides.values())
    width, head = patch.shape[0], named["blocks.0.attn.rel_pos_h"].shape[1]
    return ARCH, {
        "img_size": grid * patch.shape[-1],
        "patch_size": patch.shape[-1],
        "embed_dim": width,
        "depth": len(sides),
        "num_heads": width // head,
        "mlp_ratio": named["blocks.0.mlp.fc1.weight"].shape[0] / width,
        "use_rel_pos": True,
        "window_size": min(sides.values()) if min(sides.values()) < grid else 0,
        "global_attn_indexes": tuple(block for block, side in sides.items() if side == grid),
        "neck_chans": 0,
        "num_classes": 0,
        "global_pool": "",
    }


def _without_neck(model: nn.Module) -> None:
    named: Any = model
    named.neck = nn.Identity()


VITDET = Layout(
    "ViTDet in detectron2",
    ("vision_transformer_sam",),
    _recognises,
    _convert,
    "samvit_*",
    resampled=_POSITIONS,
    built=_built,
    prune=_without_neck,
)
