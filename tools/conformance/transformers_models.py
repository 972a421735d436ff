"""Small models of transformers: a class of the library, its configuration, the images that it takes."""

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from tools.random_weights import seeded

_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
_CLASSES = {"num_labels": 7}
_WINDOWS: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 16,
}
_DINOV2 = {**_VIT, "mlp_ratio": 2}
_DINOV2.pop("intermediate_size")
_PYRAMID: dict[str, Any] = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [16, 32],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 32,
}
_DPT = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16}


@dataclass(frozen=True)
class Architecture:
    """A class of transformers, and a small configuration of it.

    Attributes:
        model: name of the model's class.
        config: name of the configuration's class.
        arguments: of the configuration; names of other configurations' classes stand as `Config`.
        side: pixels of the image.
    """

    model: str
    config: str
    arguments: dict[str, Any] = field(default_factory=dict)
    side: int = 32

    def build(self) -> nn.Module:
        """The model, with the random weights that the library gives it."""
        given = {name: value.build() if isinstance(value, Config) else value for name, value in self.arguments.items()}
        configuration = getattr(transformers, self.config)(**given)
        model: nn.Module = getattr(transformers, self.model)(configuration).eval().requires_grad_(False)
        return model

    def filled(self) -> Any:
        """The same with weights of which none is trivial."""
        model: Any = seeded(self.build())
        if self.model.startswith("DepthAnything"):
            model.head.conv3.bias.fill_(1.0)  # else its last ReLU lets nothing through
        return model


class Unmasked(nn.Module):
    """ViT-MAE's encoder of all patches in their order: the library's own shuffles them at random."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """The tokens of all patches, and the class token before them."""
        embeddings: Any = self.model.embeddings
        patches = embeddings.patch_embeddings.num_patches
        order = torch.arange(patches, device=pixel_values.device).expand(pixel_values.shape[0], -1)
        return {"last_hidden_state": self.model(pixel_values=pixel_values, noise=order).last_hidden_state}


@dataclass(frozen=True)
class Config:
    """A configuration inside another one."""

    name: str
    arguments: dict[str, Any]

    def build(self) -> Any:
        """The library's object."""
        return getattr(transformers, self.name)(**self.arguments)


def _vit(model: str, config: str, side: int = 32, **changed: Any) -> Architecture:
    return Architecture(model, config, {**_VIT, "image_size": side, **changed}, side)


def _dinov2(model: str, config: str, **changed: Any) -> Architecture:
    return Architecture(model, config, {**_DINOV2, **changed})


ARCHITECTURES: tuple[Architecture, ...] = (
    _vit("ViTModel", "ViTConfig"),
    _vit("ViTForImageClassification", "ViTConfig", **_CLASSES),
    _vit("DeiTModel", "DeiTConfig"),
    _vit("DeiTForImageClassification", "DeiTConfig", **_CLASSES),
    _vit("DeiTForImageClassificationWithTeacher", "DeiTConfig", **_CLASSES),
    _vit("BeitForImageClassification", "BeitConfig", use_relative_position_bias=True, **_CLASSES),
    _vit("Data2VecVisionForImageClassification", "Data2VecVisionConfig", use_relative_position_bias=True, **_CLASSES),
    _vit("ViTMSNForImageClassification", "ViTMSNConfig", **_CLASSES),
    _vit("IJepaModel", "IJepaConfig"),
    _vit("ViTMAEModel", "ViTMAEConfig", mask_ratio=0.0),
    _dinov2("Dinov2Model", "Dinov2Config"),
    _dinov2("Dinov2ForImageClassification", "Dinov2Config", **_CLASSES),
    _dinov2("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", num_register_tokens=2),
    _vit("DINOv3ViTModel", "DINOv3ViTConfig", num_register_tokens=2),
    Architecture("SwinForImageClassification", "SwinConfig", {**_WINDOWS, **_CLASSES}, 64),
    Architecture("Swinv2ForImageClassification", "Swinv2Config", {**_WINDOWS, **_CLASSES}, 64),
    _vit("CLIPVisionModel", "CLIPVisionConfig"),
    _vit("CLIPVisionModelWithProjection", "CLIPVisionConfig", projection_dim=16),
    _vit("SiglipVisionModel", "SiglipVisionConfig"),
    Architecture(
        "SiglipForImageClassification", "SiglipConfig", {"vision_config": _VIT, "text_config": _TEXT, **_CLASSES}
    ),
    _vit("YolosForObjectDetection", "YolosConfig", image_size=[32, 32], num_detection_tokens=4, **_CLASSES),
    Architecture("SegformerForImageClassification", "SegformerConfig", {**_PYRAMID, **_CLASSES}, 64),
    Architecture("SegformerForSemanticSegmentation", "SegformerConfig", {**_PYRAMID, **_CLASSES}, 64),
    _vit(
        "SamVisionModel",
        "SamVisionConfig",
        mlp_dim=64,
        window_size=3,
        global_attn_indexes=[1],
        output_channels=16,
        num_pos_feats=8,
    ),
    _vit(
        "DPTForDepthEstimation",
        "DPTConfig",
        64,
        backbone_out_indices=[0, 1, 2, 3],
        num_hidden_layers=4,
        is_hybrid=False,
        **_DPT,
    ),
    Architecture(
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        {
            "backbone_config": Config(
                "Dinov2Config",
                {
                    **_DINOV2,
                    "num_hidden_layers": 4,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                    "reshape_hidden_states": False,
                },
            ),
            "reassemble_hidden_size": 32,
            "patch_size": 8,
            "head_hidden_size": 8,
            "head_in_index": -1,
            **_DPT,
        },
    ),
    _vit("Aimv2VisionModel", "Aimv2VisionConfig"),
    Architecture("PvtV2ForImageClassification", "PvtV2Config", {**_PYRAMID, **_CLASSES}, 64),
    _vit("VitDetModel", "VitDetConfig", mlp_ratio=2, window_size=2, window_block_indices=[0]),
    _vit("BlipVisionModel", "BlipVisionConfig"),
    _vit("MLCDVisionModel", "MLCDVisionConfig"),
    Architecture(
        "HieraForImageClassification",
        "HieraConfig",
        {
            "image_size": [64, 64],
            "embed_dim": 16,
            "depths": [1, 1, 1],
            "num_heads": [1, 2, 4],
            "query_stride": [2, 2],
            "num_query_pool": 2,
            "masked_unit_size": [4, 4],
            **_CLASSES,
        },
        64,
    ),
    Architecture(
        "LevitForImageClassification",
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 32, 32],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
            "mlp_ratio": [2, 2, 2],
            "attention_ratio": [2, 2, 2],
            **_CLASSES,
        },
        64,
    ),
    Architecture(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
            **_CLASSES,
        },
        64,
    ),
)

BY_NAME = {architecture.model: architecture for architecture in ARCHITECTURES}
