"""Small random models of transformers that give maps, boxes or features: what segments, detects and measures depth.

Nothing of the library is imported before a model of it is made.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mptq_export.recipe.outputs import Output
from zoo.common import randomised

_VIT: dict[str, Any] = {
    "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32, "patch_size": 8,
}  # fmt: skip
_STAGES: dict[str, Any] = {
    "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 2, 3, 4],
    "sr_ratios": [4, 2, 1, 1], "decoder_hidden_size": 16,
}  # fmt: skip
_DINO: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 56,
    "patch_size": 14, "out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False,
}  # fmt: skip
_FEATURES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
_SWIN: dict[str, Any] = {
    "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 2, **_FEATURES,
}  # fmt: skip
_DPT: dict[str, Any] = {
    **_VIT, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 16, 16],
    "fusion_hidden_size": 16, "is_hybrid": False,
}  # fmt: skip
_DETR: dict[str, Any] = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 5, "num_labels": 3,
    "use_timm_backbone": False, "backbone": None, "use_pretrained_backbone": False,
}  # fmt: skip
_SAM2: dict[str, Any] = {
    "hidden_size": 8, "num_attention_heads": 1, "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 2, 4, 2], "image_size": [64, 64],
    "global_attention_blocks": [3], "window_positional_embedding_background_size": [2, 2],
}  # fmt: skip


@dataclass(frozen=True)
class Dense:
    """One model.

    Attributes:
        size: (C, H, W) of its input.
        outputs: what of its result is taken.
        make: makes the model.
    """

    size: tuple[int, int, int]
    outputs: tuple[Output, ...]
    make: Callable[[], nn.Module]

    def build(self) -> nn.Module:
        """The model, random and in evaluation mode; it gives one tensor, or a tuple of all outputs."""
        torch.manual_seed(0)
        return randomised(Taken(self.make(), tuple(output.name for output in self.outputs)))


class Taken(nn.Module):
    """Some fields of what a model gives."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        result = self.model(pixel_values=x)
        found = tuple(getattr(result, name) for name in self.names)
        return found[0] if len(found) == 1 else found


def _of(model: str, config: str, **kwargs: Any) -> Callable[[], nn.Module]:
    """A class of transformers with its configuration; a tuple (class, arguments) is the configuration of a part."""

    def made(name: str, given: dict[str, Any]) -> Any:
        parts = {key: made(*value) if isinstance(value, tuple) else value for key, value in given.items()}
        return getattr(importlib.import_module("transformers"), name)(**parts)

    return lambda: getattr(importlib.import_module("transformers"), model)(made(config, kwargs))


_SQUARE = (3, 32, 32)
_LARGE = (3, 64, 64)
_MAP, _DEPTH = (Output("logits", "map"),), (Output("predicted_depth", "values"),)
_BOXES = (Output("logits", "choices"), Output("pred_boxes", "boxes"))
_SIGMOIDS = (Output("logits", "scores"), Output("pred_boxes", "boxes"))
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
_BACKBONE = {"backbone_config": ("ResNetConfig", {**_RESNET, "out_features": ["stage4"]})}

DENSE: dict[str, Dense] = {
    "SegformerForSemanticSegmentation": Dense(
        _LARGE, _MAP, _of("SegformerForSemanticSegmentation", "SegformerConfig", **_STAGES, num_labels=5)
    ),
    "DPTForDepthEstimation": Dense(_SQUARE, _DEPTH, _of("DPTForDepthEstimation", "DPTConfig", **_DPT)),
    "DPTForSemanticSegmentation": Dense(
        _SQUARE, _MAP, _of("DPTForSemanticSegmentation", "DPTConfig", **_DPT, num_labels=5)
    ),
    "DepthAnythingForDepthEstimation": Dense(
        (3, 56, 56),
        _DEPTH,
        _of(
            "DepthAnythingForDepthEstimation",
            "DepthAnythingConfig",
            backbone_config=("Dinov2Config", _DINO),
            reassemble_hidden_size=32,
            neck_hidden_sizes=[8, 8, 16, 16],
            fusion_hidden_size=16,
            head_hidden_size=8,
        ),
    ),
    "GLPNForDepthEstimation": Dense(
        _LARGE, _DEPTH, _of("GLPNForDepthEstimation", "GLPNConfig", **{**_STAGES, "depths": [1, 1, 1, 1]})
    ),
    "YolosForObjectDetection": Dense(
        (3, 32, 48),
        _BOXES,
        _of(
            "YolosForObjectDetection",
            "YolosConfig",
            **{**_VIT, "image_size": [32, 48]},
            num_hidden_layers=2,
            num_detection_tokens=5,
            num_labels=3,
        ),
    ),
    "DetrForObjectDetection": Dense(_LARGE, _BOXES, _of("DetrForObjectDetection", "DetrConfig", **_DETR, **_BACKBONE)),
    "ConditionalDetrForObjectDetection": Dense(
        _LARGE, _SIGMOIDS, _of("ConditionalDetrForObjectDetection", "ConditionalDetrConfig", **_DETR, **_BACKBONE)
    ),
    "SamVisionModel": Dense(
        (3, 48, 48),
        (Output("last_hidden_state", "map"),),
        _of(
            "SamVisionModel",
            "SamVisionConfig",
            **{**_VIT, "image_size": 48},
            num_hidden_layers=2,
            mlp_dim=64,
            output_channels=16,
            window_size=4,
            global_attn_indexes=[1],
        ),
    ),
    "Sam2VisionModel": Dense(
        _LARGE,
        (Output("last_hidden_state", "values"),),
        _of(
            "Sam2VisionModel",
            "Sam2VisionConfig",
            backbone_config=("Sam2HieraDetConfig", _SAM2),
            backbone_channel_list=[64, 32, 16, 8],
            backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
            fpn_hidden_size=16,
        ),
    ),
    "UperNetForSemanticSegmentation": Dense(
        _LARGE,
        _MAP,
        _of(
            "UperNetForSemanticSegmentation",
            "UperNetConfig",
            backbone_config=("SwinConfig", _SWIN),
            hidden_size=16,
            num_labels=5,
            use_auxiliary_head=False,
        ),
    ),
    "BeitForSemanticSegmentation": Dense(
        _SQUARE,
        _MAP,
        _of(
            "BeitForSemanticSegmentation",
            "BeitConfig",
            **_VIT,
            num_hidden_layers=4,
            out_indices=[1, 2, 3, 4],
            num_labels=5,
            use_auxiliary_head=False,
            use_relative_position_bias=True,
        ),
    ),
    "VitPoseForPoseEstimation": Dense(
        _SQUARE,
        (Output("heatmaps", "map"),),
        _of(
            "VitPoseForPoseEstimation",
            "VitPoseConfig",
            backbone_config=(
                "VitPoseBackboneConfig",
                {
                    "image_size": [32, 32],
                    "patch_size": [8, 8],
                    "hidden_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "mlp_ratio": 2,
                    "out_indices": [2],
                },
            ),
            num_labels=5,
            use_simple_decoder=False,
        ),
    ),
    "MobileViTV2ForSemanticSegmentation": Dense(
        _LARGE,
        _MAP,
        _of(
            "MobileViTV2ForSemanticSegmentation",
            "MobileViTV2Config",
            image_size=64,
            base_attn_unit_dims=[16, 16, 16],
            n_attn_blocks=[1, 1, 1],
            width_multiplier=0.25,
            aspp_out_channels=16,
            num_labels=5,
        ),
    ),
    "MaskFormerForInstanceSegmentation": Dense(
        _LARGE,
        (Output("class_queries_logits", "values"), Output("masks_queries_logits", "map")),
        _of(
            "MaskFormerForInstanceSegmentation",
            "MaskFormerConfig",
            backbone_config=("SwinConfig", _SWIN),
            fpn_feature_size=32,
            mask_feature_size=32,
            num_labels=3,
            decoder_config=("DetrConfig", {**_DETR, "d_model": 32, **_BACKBONE}),
        ),
    ),
}
"""By the name of the class, with what distinguishes it where there are several."""
