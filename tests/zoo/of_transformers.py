"""Models of transformers, small; the library is imported when the first is made."""

import importlib
from typing import Any

import torch
from torch import nn

from zoo.common import CLASSES, Make, Reads

_HF: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
_HF_SWIN: dict[str, Any] = {
    "image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
}  # fmt: skip
_HF_STAGES: dict[str, Any] = {
    "hidden_sizes": [16, 32], "num_attention_heads": [1, 2], "depths": [1, 1], "mlp_ratios": [2, 2],
    "num_encoder_blocks": 2,
}  # fmt: skip


def _logits(result: Any) -> torch.Tensor:
    return result.logits  # type: ignore[no-any-return]


def _pooled(result: Any) -> torch.Tensor:
    return result.pooler_output  # type: ignore[no-any-return]


def _tokens(result: Any) -> torch.Tensor:
    return result.last_hidden_state  # type: ignore[no-any-return]


def _images(result: Any) -> torch.Tensor:
    return result.image_embeds  # type: ignore[no-any-return]


def models() -> dict[str, tuple[int, Make]]:
    def hf(model: str, config: str, kwargs: dict[str, Any], read: Any = _logits) -> Make:
        def make() -> nn.Module:
            library = importlib.import_module("transformers")
            labels = {"num_labels": CLASSES} if read is _logits else {}
            made = getattr(library, model)(getattr(library, config)(**kwargs, **labels))
            return Reads(made, read, "pixel_values")

        return make

    def siglip2() -> nn.Module:
        """Its own patches and masks are not pixels: it is given what its processor makes of an image."""
        library = importlib.import_module("transformers")
        config = {**_HF, "num_patches": 16}
        config.pop("image_size")
        return _Siglip2(library.Siglip2VisionModel(library.Siglip2VisionConfig(**config)))

    def masked(ratio: float) -> Make:
        def make() -> nn.Module:
            library = importlib.import_module("transformers")
            return _Masked(library.ViTMAEModel(library.ViTMAEConfig(**_HF, mask_ratio=ratio)))

        return make

    small = {**_HF, "mlp_ratio": 2}
    small.pop("intermediate_size")
    return {
        "ViTForImageClassification": (32, hf("ViTForImageClassification", "ViTConfig", _HF)),
        "ViTModel pooled": (32, hf("ViTModel", "ViTConfig", _HF, _pooled)),
        "ViTModel tokens": (32, hf("ViTModel", "ViTConfig", _HF, _tokens)),
        "DeiTForImageClassification": (32, hf("DeiTForImageClassification", "DeiTConfig", _HF)),
        "DeiTForImageClassificationWithTeacher": (32, hf("DeiTForImageClassificationWithTeacher", "DeiTConfig", _HF)),
        "BeitForImageClassification": (
            32,
            hf("BeitForImageClassification", "BeitConfig", {**_HF, "use_relative_position_bias": True}),
        ),
        "BeitForImageClassification shared": (
            32,
            hf("BeitForImageClassification", "BeitConfig", {**_HF, "use_shared_relative_position_bias": True}),
        ),
        "Data2VecVisionForImageClassification": (
            32,
            hf(
                "Data2VecVisionForImageClassification",
                "Data2VecVisionConfig",
                {**_HF, "use_shared_relative_position_bias": True},
            ),
        ),
        "SwinForImageClassification": (64, hf("SwinForImageClassification", "SwinConfig", _HF_SWIN)),
        "SwinForImageClassification padded": (
            48,
            hf("SwinForImageClassification", "SwinConfig", {**_HF_SWIN, "image_size": 48, "window_size": 5}),
        ),
        "Swinv2ForImageClassification": (64, hf("Swinv2ForImageClassification", "Swinv2Config", _HF_SWIN)),
        "DonutSwinModel": (64, hf("DonutSwinModel", "DonutSwinConfig", _HF_SWIN, _tokens)),
        "SiglipVisionModel pooled": (32, hf("SiglipVisionModel", "SiglipVisionConfig", _HF, _pooled)),
        "SiglipVisionModel tokens": (32, hf("SiglipVisionModel", "SiglipVisionConfig", _HF, _tokens)),
        "Siglip2VisionModel": (32, siglip2),
        "CLIPVisionModel": (32, hf("CLIPVisionModel", "CLIPVisionConfig", _HF, _pooled)),
        "CLIPVisionModelWithProjection": (
            32,
            hf("CLIPVisionModelWithProjection", "CLIPVisionConfig", {**_HF, "projection_dim": 16}, _images),
        ),
        "ChineseCLIPVisionModel": (32, hf("ChineseCLIPVisionModel", "ChineseCLIPVisionConfig", _HF, _pooled)),
        "AltCLIPVisionModel": (32, hf("AltCLIPVisionModel", "AltCLIPVisionConfig", _HF, _pooled)),
        "MetaClip2VisionModelWithProjection": (
            32,
            hf("MetaClip2VisionModelWithProjection", "MetaClip2VisionConfig", {**_HF, "projection_dim": 16}, _images),
        ),
        "Blip2VisionModel": (32, hf("Blip2VisionModel", "Blip2VisionConfig", _HF, _pooled)),
        "OwlViTVisionModel": (32, hf("OwlViTVisionModel", "OwlViTVisionConfig", _HF, _pooled)),
        "Aimv2VisionModel": (32, hf("Aimv2VisionModel", "Aimv2VisionConfig", _HF, _pooled)),
        "MLCDVisionModel": (32, hf("MLCDVisionModel", "MLCDVisionConfig", _HF, _pooled)),
        "FlavaImageModel": (32, hf("FlavaImageModel", "FlavaImageConfig", _HF, _pooled)),
        "InternVLVisionModel": (
            32,
            hf(
                "InternVLVisionModel",
                "InternVLVisionConfig",
                {**_HF, "image_size": (32, 32), "patch_size": (8, 8)},
                _tokens,
            ),
        ),
        "Dinov2ForImageClassification": (32, hf("Dinov2ForImageClassification", "Dinov2Config", small)),
        "Dinov2Model": (32, hf("Dinov2Model", "Dinov2Config", {**small, "use_swiglu_ffn": True}, _pooled)),
        "Dinov2WithRegistersForImageClassification": (
            32,
            hf("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", small),
        ),
        "DINOv3ViTModel": (32, hf("DINOv3ViTModel", "DINOv3ViTConfig", {**_HF, "num_register_tokens": 2}, _pooled)),
        "DINOv3ViTModel gated": (
            32,
            hf("DINOv3ViTModel", "DINOv3ViTConfig", {**_HF, "num_register_tokens": 2, "use_gated_mlp": True}, _pooled),
        ),
        "PixioModel": (32, hf("PixioModel", "PixioConfig", small, _pooled)),
        "ViTMAEModel": (32, masked(0.0)),
        "ViTMAEModel of half the patches": (32, masked(0.5)),
        "ViTMSNForImageClassification": (32, hf("ViTMSNForImageClassification", "ViTMSNConfig", _HF)),
        "IJepaForImageClassification": (32, hf("IJepaForImageClassification", "IJepaConfig", _HF)),
        "HieraForImageClassification": (
            64,
            hf(
                "HieraForImageClassification",
                "HieraConfig",
                {
                    "image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 1], "num_heads": [1, 2, 4],
                    "num_query_pool": 2, "masked_unit_size": [4, 4], "query_stride": [2, 2],
                },
            ),
        ),
        "PvtForImageClassification": (
            32,
            hf(
                "PvtForImageClassification",
                "PvtConfig",
                {
                    **_HF_STAGES, "image_size": 32, "sequence_reduction_ratios": [2, 1], "patch_sizes": [4, 2],
                    "strides": [4, 2],
                },
            ),
        ),
        "PvtV2ForImageClassification": (
            32,
            hf(
                "PvtV2ForImageClassification",
                "PvtV2Config",
                {
                    **_HF_STAGES, "image_size": 32, "sr_ratios": [2, 1], "patch_sizes": [7, 3], "strides": [4, 2],
                    "num_encoder_blocks": 2,
                },
            ),
        ),
        "PvtV2ForImageClassification linear": (
            64,
            hf(
                "PvtV2ForImageClassification",
                "PvtV2Config",
                {
                    **_HF_STAGES, "image_size": 64, "sr_ratios": [2, 1], "patch_sizes": [7, 3], "strides": [4, 2],
                    "num_encoder_blocks": 2, "linear_attention": True,
                },
            ),
        ),
        "MobileViTForImageClassification": (
            64,
            hf(
                "MobileViTForImageClassification",
                "MobileViTConfig",
                {
                    "image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 32],
                    "num_attention_heads": 2,
                },
            ),
        ),
        "MobileViTV2ForImageClassification": (
            64,
            hf("MobileViTV2ForImageClassification", "MobileViTV2Config", {"image_size": 64, "width_multiplier": 0.25}),
        ),
        "LevitForImageClassification": (
            64,
            hf(
                "LevitForImageClassification",
                "LevitConfig",
                {
                    "image_size": 64, "hidden_sizes": [16, 32, 48], "num_attention_heads": [2, 2, 2],
                    "depths": [1, 1, 1], "key_dim": [8, 8, 8],
                },
            ),
        ),
        "CvtForImageClassification": (
            64,
            hf(
                "CvtForImageClassification",
                "CvtConfig",
                {"embed_dim": [16, 32, 32], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
            ),
        ),
        "FocalNetForImageClassification": (
            64,
            hf(
                "FocalNetForImageClassification",
                "FocalNetConfig",
                {
                    "image_size": 64, "embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2],
                    "focal_windows": [3, 3],
                },
            ),
        ),
        "SwiftFormerForImageClassification": (
            64,
            hf(
                "SwiftFormerForImageClassification",
                "SwiftFormerConfig",
                {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [16, 16, 32, 32]},
            ),
        ),
        "PoolFormerForImageClassification": (
            64,
            hf(
                "PoolFormerForImageClassification",
                "PoolFormerConfig",
                {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 32, 32]},
            ),
        ),
    }  # fmt: skip


class _Siglip2(nn.Module):
    """SigLIP 2 over an image that is cut into patches as its processor does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = x.shape[0]
        rows = x.reshape(batch, 3, 4, 8, 4, 8).permute(0, 2, 4, 3, 5, 1).reshape(batch, 16, 192)
        mask, shapes = torch.ones(batch, 16), torch.tensor([[4, 4]]).expand(batch, 2)
        return self.model(rows, mask, shapes).pooler_output  # type: ignore[no-any-return]


class _Masked(nn.Module):
    """A masked autoencoder's encoder, which keeps the patches of the lowest noise: the last ones."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = torch.arange(16, 0, -1.0).expand(x.shape[0], 16)
        return self.model(pixel_values=x, noise=noise).last_hidden_state  # type: ignore[no-any-return]
