"""DINOv2, as its official files and its training name it.

With registers, the class token has a position of its own and the registers have none; timm adds that position to the
token once, and so does this: it is the sum that the official model forms of the same two numbers for every image.
Blocks may be numbered by chunk first, as training in chunks does. The large SwiGLU has other names.
"""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from mptq_export.load.timm.layouts.layout import Layout, renamed

_REGISTERS = "register_tokens"
_CHUNK = re.compile(r"^blocks\.\d+\.(\d+)\.")
_RULES = ((_CHUNK.pattern, r"blocks.\1."), (r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))
_GATED = re.compile(r"^blocks\.(\d+\.)+mlp\.w12\.")
_SCALED = re.compile(r"^blocks\.(\d+\.)+ls1\.gamma$")


def _recognises(names: Collection[str]) -> bool:
    scaled = "pos_embed" in names and any(_SCALED.match(name) for name in names)
    return scaled and any(name == _REGISTERS or _CHUNK.match(name) or _GATED.match(name) for name in names)


def _convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {renamed(name, _RULES): tensor for name, tensor in tensors.items()}
    if _REGISTERS in found:
        found["reg_token"] = found.pop(_REGISTERS)
        found["cls_token"] = found["cls_token"] + found["pos_embed"][:, :1]
        found["pos_embed"] = found["pos_embed"][:, 1:]
    return found


DINOV2 = Layout("DINOv2", ("vision_transformer",), _recognises, _convert, "*_dinov2")
