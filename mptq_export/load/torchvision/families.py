"""torchvision's transformers: which names their tensors have, and what the shapes say of their arguments.

Shapes show all arguments but the heads of a ViT and the image that a Swin or a MaxViT was trained on.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Family:
    """One of torchvision's transformers, of any size.

    Attributes:
        name: of its class; of the second Swin with its version.
        signature: names of tensors that every model of it has, and that together no other model has.
        arguments: of the constructor, from the shapes of the tensors: all that these show.
        build: gives the model.
        head: name of the classifier, and of its last layer in it.
        size: the argument that says the image's size, where the model is built for one.
        variants: what tells each architecture of torchvision's registry from the others, and what shapes do not show.
    """

    name: str
    signature: frozenset[str]
    arguments: Callable[[Shapes], dict[str, Any]]
    build: Callable[..., nn.Module]
    head: tuple[str, str]
    size: str | None
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def variant(self, arguments: Mapping[str, Any]) -> str | None:
        """The architecture of torchvision's registry with these arguments; None where there is none."""
        for name, known in self.variants.items():
            if all(arguments.get(key, value) == value for key, value in known.items()):
                return name
        return None


def _count(shapes: Shapes, before: str, after: str) -> int:
    """How many numbers from 0 on stand between two parts of names."""
    number = 0
    while f"{before}{number}{after}" in shapes:
        number += 1
    return number


def _vit(shapes: Shapes) -> dict[str, Any]:
    hidden, _, patch, _ = shapes["conv_proj.weight"]
    first = "encoder.layers.encoder_layer_0.mlp"
    wide = shapes.get(f"{first}.0.weight") or shapes[f"{first}.linear_1.weight"]  # the second in older files
    found: dict[str, Any] = {
        "image_size": math.isqrt(shapes["encoder.pos_embedding"][1] - 1) * patch,
        "patch_size": patch,
        "num_layers": _count(shapes, "encoder.layers.encoder_layer_", ".ln_1.weight"),
        "hidden_dim": hidden,
        "mlp_dim": wide[0],
    }
    if "heads.pre_logits.weight" in shapes:
        found["representation_size"] = shapes["heads.pre_logits.weight"][0]
    return found


def _swin(shapes: Shapes) -> dict[str, Any]:
    """Stages stand at 1, 3, 5 ..., and patch mergings between them."""
    stages = [f"features.{number}" for number in range(1, 40, 2) if f"features.{number}.0.norm1.weight" in shapes]
    width, _, *patch = shapes["features.0.0.weight"]
    table = shapes.get("features.1.0.attn.relative_coords_table")
    if table is not None:
        window = [(table[1] + 1) // 2, (table[2] + 1) // 2]
        heads = [shapes[f"{stage}.0.attn.logit_scale"][0] for stage in stages]
    else:
        positions, _ = shapes["features.1.0.attn.relative_position_bias_table"]
        window = [(math.isqrt(positions) + 1) // 2] * 2  # (2 w - 1)^2: a square, as in all of torchvision's
        heads = [shapes[f"{stage}.0.attn.relative_position_bias_table"][1] for stage in stages]
    return {
        "patch_size": list(patch),
        "embed_dim": width,
        "depths": [_count(shapes, f"{stage}.", ".norm1.weight") for stage in stages],
        "num_heads": heads,
        "window_size": window,
        "mlp_ratio": shapes["features.1.0.mlp.0.weight"][0] / width,
    }


def _maxvit(shapes: Shapes) -> dict[str, Any]:
    first = "blocks.0.layers.0.layers"
    blocks = _count(shapes, "blocks.", ".layers.0.layers.MBconv.layers.conv_c.weight")
    channels = [shapes[f"blocks.{block}.layers.0.layers.MBconv.layers.conv_c.weight"][0] for block in range(blocks)]
    positions, heads = shapes[f"{first}.window_attention.attn_layer.1.relative_position_bias_table"]
    expanded = shapes[f"{first}.MBconv.layers.conv_a.0.weight"][0]
    return {
        "stem_channels": shapes["stem.0.0.weight"][0],
        "partition_size": (math.isqrt(positions) + 1) // 2,
        "block_channels": channels,
        "block_layers": [
            _count(shapes, f"blocks.{block}.layers.", ".layers.MBconv.layers.conv_c.weight") for block in range(blocks)
        ],
        "head_dim": channels[0] // heads,
        "stochastic_depth_prob": 0.0,
        "squeeze_ratio": shapes[f"{first}.MBconv.layers.squeeze_excitation.fc1.weight"][0] / channels[0],
        "expansion_ratio": expanded / channels[0],
        "mlp_ratio": shapes[f"{first}.window_attention.mlp_layer.1.weight"][0] // channels[0],
    }


def _plain(patch: int, layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {"patch_size": patch, "num_layers": layers, "hidden_dim": hidden, "mlp_dim": 4 * hidden, "num_heads": heads}


def _stages(width: int, deep: int, heads: int, window: int) -> dict[str, Any]:
    return {
        "patch_size": [4, 4],
        "embed_dim": width,
        "depths": [2, 2, deep, 2],
        "num_heads": [heads * 2**stage for stage in range(4)],
        "window_size": [window, window],
        "mlp_ratio": 4.0,
    }


FAMILIES: tuple[Family, ...] = (
    Family(
        "VisionTransformer",
        frozenset({"class_token", "conv_proj.weight", "encoder.pos_embedding", "encoder.ln.weight"}),
        _vit,
        VisionTransformer,
        ("heads", "head"),
        "image_size",
        {
            "vit_b_16": _plain(16, 12, 768, 12),
            "vit_b_32": _plain(32, 12, 768, 12),
            "vit_l_16": _plain(16, 24, 1024, 16),
            "vit_l_32": _plain(32, 24, 1024, 16),
            "vit_h_14": _plain(14, 32, 1280, 16),
        },
    ),
    Family(
        "SwinTransformerV2",
        frozenset({"features.0.0.weight", "features.1.0.attn.cpb_mlp.0.weight", "features.1.0.attn.logit_scale"}),
        _swin,
        partial(SwinTransformer, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
        ("", "head"),
        None,
        {
            "swin_v2_t": _stages(96, 6, 3, 8),
            "swin_v2_s": _stages(96, 18, 3, 8),
            "swin_v2_b": _stages(128, 18, 4, 8),
        },
    ),
    Family(
        "SwinTransformer",
        frozenset(
            {"features.0.0.weight", "features.1.0.attn.relative_position_bias_table", "features.1.0.mlp.0.weight"}
        ),
        _swin,
        SwinTransformer,
        ("", "head"),
        None,
        {"swin_t": _stages(96, 6, 3, 7), "swin_s": _stages(96, 18, 3, 7), "swin_b": _stages(128, 18, 4, 7)},
    ),
    Family(
        "MaxVit",
        frozenset({"stem.0.0.weight", "blocks.0.layers.0.layers.MBconv.layers.conv_c.weight"}),
        _maxvit,
        MaxVit,
        ("classifier", "5"),
        "input_size",
        {
            "maxvit_t": {
                "stem_channels": 64,
                "partition_size": 7,
                "block_channels": [64, 128, 256, 512],
                "block_layers": [2, 2, 5, 2],
                "head_dim": 32,
                "squeeze_ratio": 0.25,
                "expansion_ratio": 4.0,
                "mlp_ratio": 4,
            }
        },
    ),
)
"""All of them."""
