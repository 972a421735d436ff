"""Names that the library gives to tensors: how a file without its folder is known."""

import re
from collections.abc import Iterable

_FIRST = re.compile(r"(^|\.)(patch_embeddings?\.|embeddings\.cls_token$|vision_encoder\.patch_embed\.)")
"""The layer that sees pixels; timm calls it `patch_embed`."""
_BLOCK = re.compile(r"(^|\.)encoder\.layers?\.\d+\.(attention|self_attn|layernorm_before|layer_norm1)")


def are_of_transformers(names: Iterable[str]) -> bool:
    """Whether tensors are called as transformers calls them, with whatever prefix."""
    return any(_FIRST.search(name) or _BLOCK.search(name) for name in names)
