"""Checkpoints whose model timm has no equal of: what their names look like, why, and what to do."""

import re
from collections.abc import Collection

_KINDS = (
    (
        re.compile(r"(^|\.)simfp_\d+\.\d|^backbone\.net\.blocks\."),
        re.compile(r"(^|\.)net\.blocks\.\d+\.attn\.rel_pos_h$"),
        "a ViTDet of detectron2 without relative positions: its windows show in no tensor; give the module itself in "
        "Python instead",
    ),
    (
        re.compile(r"\.mlp\._moe_layer\.|\.moe_layer\.|\.mlp\.experts\."),
        None,
        "a mixture of experts (such as Swin-MoE), which timm does not have; export a model whose layers are dense",
    ),
    (
        re.compile(r"(^|\.)attn_pool(_contrastive)?\.query$"),
        None,
        "a CoCa of OpenCLIP: its attention pooling is none of timm's; give the module itself in Python instead",
    ),
)
"""What the names look like, which names would make them known after all, and what to say."""


def unlike(names: Collection[str]) -> str:
    """What these are the tensors of, and what to do; empty where nothing is known against them."""
    for pattern, known, reason in _KINDS:
        if any(map(pattern.search, names)) and not (known and any(map(known.search, names))):
            return reason
    return ""
