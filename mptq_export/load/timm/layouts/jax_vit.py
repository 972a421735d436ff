"""ViT as Google's JAX code names it (`vision_transformer`, `augreg`, and `big_vision` with blocks of their own).

Products are stored as (inputs, outputs), those of attention with their heads apart, and the three of query, key and
value each for itself; a convolution as (height, width, inputs, outputs).
"""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from mptq_export.load.timm.layouts.layout import Layout, renamed

_START = re.compile(r"^(opt/target/|params/img/|params/)?(?=[^/]+(/|$))")
_KERNEL = "embedding/kernel"
_QUERY = re.compile(r"/MultiHeadDotProductAttention_[01]/query/kernel$")
_INPUTS = re.compile(r"^(blocks\.\d+\.attn)\.(query|key|value)\.(weight|bias)$")
_OUTPUT = re.compile(r"^blocks\.\d+\.attn\.proj\.weight$")
_QKV = ("query", "key", "value")
_RULES = (
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1."),
    (r"MultiHeadDotProductAttention_[01]/out/", "attn.proj."),
    (r"MultiHeadDotProductAttention_[01]/(query|key|value)/", r"attn.\1."),
    (r"LayerNorm_0/", "norm1."),
    (r"LayerNorm_[12]/", "norm2."),
    (r"MlpBlock_[03]/Dense_0/", "mlp.fc1."),
    (r"MlpBlock_[03]/Dense_1/", "mlp.fc2."),
    (r"^Transformer/encoder_norm/", "norm."),
    (r"^(Transformer/posembed_input/)?pos_embedding$", "pos_embed"),
    (r"^cls$", "cls_token"),
    (r"^embedding/", "patch_embed.proj."),
    (r"^head/", "head."),
    (r"(^|\.)(kernel|scale)$", r"\1weight"),
)


def _recognises(names: Collection[str]) -> bool:
    return any(_START.sub("", name) == _KERNEL for name in names) and any(_QUERY.search(name) for name in names)


def _convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for stored, tensor in tensors.items():
        name = renamed(_START.sub("", stored), _RULES)
        split = _INPUTS.match(name)
        if split is not None:
            flat = tensor.flatten(1).T if split[3] == "weight" else tensor.flatten()
            parts.setdefault(f"{split[1]}.qkv.{split[3]}", {})[split[2]] = flat
        else:
            found[stored if "/" in name else name] = _turned(name, tensor)
    joined = {name: torch.cat([each[part] for part in _QKV]) for name, each in parts.items()}
    return {**found, **joined}


def _turned(name: str, tensor: Tensor) -> Tensor:
    """Outputs first, as torch has them."""
    if name == "patch_embed.proj.weight":
        return tensor.permute(3, 2, 0, 1)
    if _OUTPUT.match(name):
        return tensor.flatten(0, 1).T
    return tensor.T if name.endswith(".weight") and tensor.dim() == 2 else tensor


def heads_of(tensors: Mapping[str, Tensor]) -> int | None:
    """Number of heads, which these files show; None for others."""
    query = next((tensor for name, tensor in tensors.items() if _QUERY.search(name)), None)
    return int(query.shape[1]) if query is not None and query.dim() == 3 else None


JAX_VIT = Layout("Google's ViT in JAX", ("vision_transformer",), _recognises, _convert, "vit_*")
