"""Torchvision's transformers: all of its names, with the depth of each stage reduced where the model is large."""

from typing import Any

import torchvision
from torch import nn
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

#: Sizes of each ViT of the library: patch, layers, heads, width, hidden width of the perceptron.
_VITS = {
    "vit_b_16": (16, 12, 12, 768, 3072),
    "vit_b_32": (32, 12, 12, 768, 3072),
    "vit_l_16": (16, 24, 16, 1024, 4096),
    "vit_l_32": (32, 24, 16, 1024, 4096),
    "vit_h_14": (14, 32, 16, 1280, 5120),
}
_SWINS = {
    "swin_t": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_s": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_b": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "swin_v2_t": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_v2_s": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_v2_b": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}

#: Layers of a large ViT, and of a stage of a large Swin, that are tried: all are alike.
_LAYERS = {"vit_l_16": 4, "vit_l_32": 4, "vit_h_14": 4, "swin_s": 8, "swin_b": 4, "swin_v2_s": 8, "swin_v2_b": 4}

#: Names of the library, and their modules in it.
NAMES = {
    **dict.fromkeys(_VITS, "vision_transformer"),
    **dict.fromkeys(_SWINS, "swin_transformer"),
    "maxvit_t": "maxvit",
}


def build(name: str) -> tuple[nn.Module, int, str]:
    """A model with the library's random weights, the side of its images, and what was reduced.

    Widths, heads, windows and patches are those of the library. Images of a ViT are three patches wide.
    """
    if name in _VITS:
        patch, layers, heads, width, hidden = _VITS[name]
        tried = _LAYERS.get(name, layers)
        reduced = f"{tried} of {layers} layers" if tried < layers else ""
        return VisionTransformer(3 * patch, patch, tried, heads, width, hidden), 3 * patch, reduced
    if name in _SWINS:
        width, depths, heads_of = _SWINS[name]
        second = "v2" in name
        window = 8 if second else 7
        changed: dict[str, Any] = {}
        if second:
            changed = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
        fewer = [min(_LAYERS.get(name, depth), depth) for depth in depths]
        model = SwinTransformer([4, 4], width, fewer, list(heads_of), [window, window], **changed)
        reduced = f"{max(fewer)} of {max(depths)} blocks in the third stage" if max(fewer) < max(depths) else ""
        return model, 8 * 4 * window, reduced
    assert name == "maxvit_t"
    whole: MaxVit = torchvision.models.maxvit_t()
    return whole, 224, ""
