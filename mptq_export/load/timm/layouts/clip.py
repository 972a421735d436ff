"""The image tower of CLIP, as OpenAI and OpenCLIP name it, beside its text tower or alone.

The projection of the tower is a product without bias: it becomes the classifier, whose bias is zero.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from mptq_export.load.timm.layouts.layout import Layout, renamed

_TOWER = "visual."
_TRUNK = "visual.trunk."
"""A tower that is a model of timm."""
_RULES = (
    (r"^conv1\.", "patch_embed.proj."),
    (r"^positional_embedding$", "pos_embed"),
    (r"^class_embedding$", "cls_token"),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.ls_([12])\.", r".ls\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_MUST = ("class_embedding", "conv1.weight", "positional_embedding", "transformer.resblocks.0.ln_1.weight")
_OPENAI = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Tensors that no other file has beside the towers."""
_OTHER = ("attn_pool.probe", "attn_pool.query", "transformer.resblocks.0.attn.rope.freq")
"""Names of towers that are built otherwise: Perception Encoder, CoCa."""


def is_clip(names: Collection[str]) -> bool:
    """Whether these are the names of a CLIP whose image tower is a plain vision transformer."""
    return _start(names) is not None


def is_openais(names: Collection[str]) -> bool:
    """Whether it is a file of OpenAI itself, whose towers have QuickGELU."""
    return set(names) >= _OPENAI


def _start(names: Collection[str]) -> str | None:
    for start in (_TOWER, ""):
        if all(start + name in names for name in _MUST) and not any(start + name in names for name in _OTHER):
            return start
    return None


def _convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = _start(tensors) or ""
    found: dict[str, Tensor] = {}
    for stored, tensor in tensors.items():
        if not stored.startswith(start):
            found[stored] = tensor
            continue
        name = renamed(stored.removeprefix(start), _RULES)
        if name == "proj":
            found |= {"head.weight": tensor.T, "head.bias": tensor.new_zeros(tensor.shape[1])}
        else:
            found[name] = tensor.reshape(1, -1, tensor.shape[-1]) if name in ("cls_token", "pos_embed") else tensor
    return found


def is_trunk(names: Collection[str]) -> bool:
    """Whether these are the names of a CLIP whose image tower is a vision transformer of timm."""
    return any(name.startswith(f"{_TRUNK}blocks.0.") for name in names)


def _convert_trunk(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "visual.head.proj.weight":
            found |= {"head.weight": tensor, "head.bias": tensor.new_zeros(tensor.shape[0])}
        else:
            found[name.removeprefix(_TRUNK)] = tensor
    return found


CLIP = Layout("OpenAI CLIP and OpenCLIP", ("vision_transformer",), is_clip, _convert, "*_clip_*")
TRUNK = Layout("OpenCLIP with a tower of timm", ("vision_transformer",), is_trunk, _convert_trunk)
