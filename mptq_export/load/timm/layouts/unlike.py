"""Checkpoints whose model timm has no equal of: what their names look like, why, and what to do."""

import re
from collections.abc import Collection

_KINDS = (
    (
        re.compile(r"(^|\.)simfp_\d+\.\d|(^|\.)net\.blocks\.\d+\.attn\.rel_pos_[hw]$|^backbone\.net\.blocks\."),
        "a ViTDet of detectron2: its blocks attend within windows and its positions are resampled for every image "
        "size, which no model of timm does; export the plain ViT that it was trained from",
    ),
    (
        re.compile(r"\.mlp\._moe_layer\.|\.moe_layer\.|\.mlp\.experts\."),
        "a mixture of experts (such as Swin-MoE), which timm does not have; export a model whose layers are dense",
    ),
    (
        re.compile(r"(^|\.)attn_pool(_contrastive)?\.query$"),
        "a CoCa of OpenCLIP: its attention pooling is none of timm's; give the module itself in Python instead",
    ),
)


def unlike(names: Collection[str]) -> str:
    """What these are the tensors of, and what to do; empty where nothing is known against them."""
    return next((reason for pattern, reason in _KINDS if any(pattern.search(name) for name in names)), "")
