"""What segments, detects and measures depth at its published size: random weights, any of them by its name.

    mptq-export tools.conformance.dense_models:segformer_b0 --img-size 512 --mean 0.5 --std 0.5 --method paper --count 3

Every function gives a model that `mptq-export` takes as it takes a module of anybody's; `MODELS` has their sizes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch.nn.functional as F  # noqa: N812 - torch's own convention
import transformers
from torch import Tensor, nn

from mptq_export.recipe.outputs import OutputKind
from tools.random_weights import seeded

#: Images that a model is calibrated on.
IMAGES = 3

#: Classes of ADE20K, and of COCO with its gaps.
_ADE20K, _COCO = 150, 91


class Patches(nn.Module):
    """A ViT of timm with a segmentation head on its patch tokens; the map is resized to the image."""

    def __init__(self, head: nn.Module, side: int) -> None:
        super().__init__()
        self.backbone = timm.create_model("vit_small_patch16_384", img_size=side, num_classes=0)
        self.head = head

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every pixel, [B, classes, H, W]."""
        backbone: Any = self.backbone
        tokens = backbone.forward_features(x)[:, backbone.num_prefix_tokens :]
        height, width = backbone.patch_embed.grid_size
        found = self.head(tokens.transpose(1, 2).unflatten(2, (height, width)))
        return {"logits": F.interpolate(found, x.shape[-2:], mode="bilinear", align_corners=False)}


def segformer_b0() -> nn.Module:
    """SegFormer-B0 with its decoder."""
    return _seeded(transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=_ADE20K)))


def dpt_base() -> nn.Module:
    """DPT for depth over ViT-B/16: the library's default has ViT-L."""
    config = transformers.DPTConfig(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        backbone_out_indices=[2, 5, 8, 11],
        neck_hidden_sizes=[96, 192, 384, 768],
    )
    return _seeded(transformers.DPTForDepthEstimation(config))


def depth_anything_small() -> nn.Module:
    """Depth Anything over DINOv2-small."""
    backbone = transformers.Dinov2Config(
        hidden_size=384,
        num_attention_heads=6,
        image_size=518,
        patch_size=14,
        out_features=["stage9", "stage10", "stage11", "stage12"],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=384, neck_hidden_sizes=[48, 96, 192, 384]
    )
    model = _seeded(transformers.DepthAnythingForDepthEstimation(config))
    model.get_parameter("head.conv3.bias").fill_(1.0)  # else its last ReLU lets nothing through
    return model


def yolos_tiny() -> nn.Module:
    """YOLOS-tiny at the size of YOLOS-small."""
    return _yolos(hidden_size=192, num_attention_heads=3, intermediate_size=768)


def yolos_small() -> nn.Module:
    """YOLOS-small."""
    return _yolos(hidden_size=384, num_attention_heads=6, intermediate_size=1536)


def detr_resnet_50() -> nn.Module:
    """DETR over ResNet-50 with frozen batch norm."""
    config = transformers.DetrConfig(
        use_timm_backbone=True, backbone="resnet50", use_pretrained_backbone=False, num_labels=_COCO
    )
    return _seeded(transformers.DetrForObjectDetection(config))


def sam_vit_b() -> nn.Module:
    """The image encoder of SAM ViT-B at its own 1024 pixels."""
    return _sam(1024)


def sam_vit_b_512() -> nn.Module:
    """The same at 512 pixels."""
    return _sam(512)


def vit_linear_head() -> nn.Module:
    """ViT-S/16 with a linear layer on every patch, as Segmenter's."""
    return _seeded(Patches(nn.Conv2d(384, _ADE20K, 1), 512))


def vit_convolution_head() -> nn.Module:
    """ViT-S/16 with 3x3 convolutions and upsampling by two between them, as SETR's progressive head."""
    layers: list[nn.Module] = []
    for inputs in (384, 256, 256):
        layers += [nn.Conv2d(inputs, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
        layers += [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)]
    return _seeded(Patches(nn.Sequential(*layers, nn.Conv2d(256, _ADE20K, 1)), 512))


def upernet_swin_tiny() -> nn.Module:
    """UperNet over Swin-T."""
    stages = [f"stage{number}" for number in range(1, 5)]
    config = transformers.UperNetConfig(
        backbone_config=transformers.SwinConfig(image_size=512, out_features=stages),
        num_labels=_ADE20K,
        use_auxiliary_head=False,
    )
    return _seeded(transformers.UperNetForSemanticSegmentation(config))


def beit_base() -> nn.Module:
    """BEiT-B with its segmentation head, at 512 pixels of its 640."""
    config = transformers.BeitConfig(
        image_size=512,
        num_labels=_ADE20K,
        out_indices=[3, 5, 7, 11],
        use_auxiliary_head=False,
        use_relative_position_bias=True,
        use_mask_token=False,
        layer_scale_init_value=0.1,
    )
    return _seeded(transformers.BeitForSemanticSegmentation(config))


@dataclass(frozen=True)
class DenseModel:
    """One of them.

    Attributes:
        make: the model.
        size: height and width of its image.
        family: whose classes it is made of.
        kinds: of its outputs that are exported, by their names.
    """

    make: Callable[[], nn.Module]
    size: tuple[int, int]
    family: str
    kinds: Mapping[str, OutputKind]


_LOGITS: Mapping[str, OutputKind] = {"logits": "map"}
_DEPTH: Mapping[str, OutputKind] = {"predicted_depth": "values"}
_BOXES: Mapping[str, OutputKind] = {"logits": "choices", "pred_boxes": "boxes"}
_FEATURES: Mapping[str, OutputKind] = {"last_hidden_state": "map"}

MODELS: dict[str, DenseModel] = {
    "segformer_b0": DenseModel(segformer_b0, (512, 512), "transformers", _LOGITS),
    "dpt_base": DenseModel(dpt_base, (384, 384), "transformers", _DEPTH),
    "depth_anything_small": DenseModel(depth_anything_small, (518, 518), "transformers", _DEPTH),
    "yolos_tiny": DenseModel(yolos_tiny, (512, 864), "transformers", _BOXES),
    "yolos_small": DenseModel(yolos_small, (512, 864), "transformers", _BOXES),
    "detr_resnet_50": DenseModel(detr_resnet_50, (640, 640), "transformers", _BOXES),
    "sam_vit_b_512": DenseModel(sam_vit_b_512, (512, 512), "transformers", _FEATURES),
    "sam_vit_b": DenseModel(sam_vit_b, (1024, 1024), "transformers", _FEATURES),
    "vit_linear_head": DenseModel(vit_linear_head, (512, 512), "timm", _LOGITS),
    "vit_convolution_head": DenseModel(vit_convolution_head, (512, 512), "timm", _LOGITS),
    "upernet_swin_tiny": DenseModel(upernet_swin_tiny, (512, 512), "transformers", _LOGITS),
    "beit_base": DenseModel(beit_base, (512, 512), "transformers", _LOGITS),
}
"""By the name of the function."""


def _yolos(**sizes: int) -> nn.Module:
    config = transformers.YolosConfig(
        **sizes, num_hidden_layers=12, image_size=[512, 864], use_mid_position_embeddings=False, num_labels=_COCO
    )
    return _seeded(transformers.YolosForObjectDetection(config))


def _sam(side: int) -> nn.Module:
    return _seeded(transformers.SamVisionModel(transformers.SamVisionConfig(image_size=side)))


def _seeded(model: nn.Module) -> nn.Module:
    return seeded(model)  # as a module: transformers has no types
