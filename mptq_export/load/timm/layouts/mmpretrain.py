"""ViT, DeiT, BEiT and Swin as mmpretrain (formerly mmcls) names them.

Its Swin merges patches in the order of `torch.nn.Unfold`, channel before position and rows before columns; timm and the
official Swin put the position first and columns before rows. Norm and product behind it are put into timm's order.
"""

import re
from collections.abc import Callable, Collection, Mapping

from torch import Tensor

from mptq_export.load.timm.layouts.layout import Layout, renamed

_INSIDE = (
    (r"^backbone\.", ""),
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)
_VIT = (
    *_INSIDE,
    (r"^layers\.", "blocks."),
    (r"^(blocks\.\d+)\.ln([12])\.", r"\1.norm\2."),
    (r"^ln1\.", "norm."),
    (r"^ln2\.", "fc_norm."),
    (r"^pre_norm\.", "norm_pre."),
    (r"\.attn\.gamma1\.weight$", ".ls1.gamma"),
    (r"\.ffn\.gamma2\.(weight|scale)$", ".ls2.gamma"),
    (r"\.ffn\.w12\.", ".mlp.fc1."),
    (r"\.ffn\.w3\.", ".mlp.fc2."),
    (r"^head\.layers\.(head|head_dist|pre_logits)\.", r"\1."),
    (r"^head\.fc\.", "head."),
)
_SWIN = (
    *_INSIDE,
    (r"\.attn\.w_msa\.", ".attn."),
    (r"^stages\.", "layers."),
)
_STAGE = re.compile(r"^(?:backbone\.)?stages\.(\d+)\.")
_MERGE = re.compile(r"^layers\.(\d+)\.downsample\.")


def _convert_vit(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {renamed(name, _VIT): tensor for name, tensor in tensors.items()}


def _convert_swin(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    last = max(int(stage[1]) for name in tensors if (stage := _STAGE.match(name)))
    rules = (*_SWIN, (rf"^norm{last}\.", "norm."))  # a norm a stage that gives a map, of a classifier the last
    for stored, tensor in tensors.items():
        name = renamed(stored, rules)
        merge = _MERGE.match(name)
        if merge is not None:  # timm merges at the beginning of the next stage
            name = f"layers.{int(merge[1]) + 1}.downsample.{name.removeprefix(merge[0])}"
        found[name] = tensor if merge is None else _position_first(tensor)
    return found


def _position_first(tensor: Tensor) -> Tensor:
    """The last axis from (channel, row, column) to (column, row, channel); rows and columns are two each."""
    before = tensor.shape[:-1]
    split = tensor.reshape(*before, -1, 2, 2)
    return split.permute(*range(len(before)), -1, -2, -3).reshape(*before, -1)


def _has(*patterns: str) -> Callable[[Collection[str]], bool]:
    wanted = [re.compile(pattern) for pattern in patterns]

    def recognises(names: Collection[str]) -> bool:
        return all(any(each.search(name) for name in names) for each in wanted)

    return recognises


_PATCHES = r"^(backbone\.)?patch_embed\.projection\.weight$"
VIT = Layout(
    "mmpretrain",
    ("vision_transformer", "deit", "beit"),
    _has(_PATCHES, r"^(backbone\.)?layers\.0\.ln1\.weight$", r"^(backbone\.)?layers\.0\.ffn\."),
    _convert_vit,
)
SWIN = Layout(
    "mmpretrain",
    ("swin_transformer",),
    _has(_PATCHES, r"^(backbone\.)?stages\.0\.blocks\.0\.attn\.w_msa\.qkv\.weight$"),
    _convert_swin,
)
