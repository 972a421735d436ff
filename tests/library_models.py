"""Small random models of other libraries: one of every kind that people have, each as a module that gives one tensor.

Nothing of a library is imported before a model of it is made.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

CLASSES = 7
Make = Callable[[], nn.Module]


class Reads(nn.Module):
    """One tensor of what a model gives.

    Args:
        model: any.
        read: takes the tensor out of the result.
        named: the argument that the images are passed as; None: the first.
    """

    def __init__(self, model: nn.Module, read: Callable[[Any], torch.Tensor], named: str | None = None) -> None:
        super().__init__()
        self.model, self.read, self.named = model, read, named

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(self.model(x) if self.named is None else self.model(**{self.named: x}))


def randomised(model: nn.Module) -> nn.Module:
    """The model in evaluation mode: weights of unit gain, norms near one, nothing zero."""
    norms = (nn.LayerNorm, nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm)
    gains = {id(module.weight) for module in model.modules() if isinstance(module, norms) and module.weight is not None}
    model = model.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if id(parameter) in gains or (name.endswith(("gamma", "weight")) and parameter.dim() == 1):
            parameter.copy_(1 + 0.1 * noise)
        elif name.endswith("weight") and parameter.dim() > 1 and "table" not in name and "embeddings" not in name:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        elif "temperature" in name or "logit_scale" in name:
            continue
        else:
            parameter.copy_(0.2 * noise)
    for path, buffer in model.named_buffers():
        if path.endswith(("running_mean", "running_var")):
            buffer.copy_(buffer + 0.2 * torch.rand(buffer.shape, generator=generator))
    return model


def _torchvision() -> dict[str, tuple[int, Make]]:
    def vit(**kwargs: Any) -> Make:
        def make() -> nn.Module:
            from torchvision.models.vision_transformer import VisionTransformer

            return VisionTransformer(**{**_TV_VIT, **kwargs})

        return make

    def swin(version: int, **kwargs: Any) -> Make:
        def make() -> nn.Module:
            from torchvision.models import swin_transformer as module

            if version == 1:
                return module.SwinTransformer(**{**_TV_SWIN, **kwargs})
            v2 = {"block": module.SwinTransformerBlockV2, "downsample_layer": module.PatchMergingV2}
            return module.SwinTransformer(**{**_TV_SWIN, **v2, **kwargs})

        return make

    def maxvit() -> nn.Module:
        from torchvision.models.maxvit import MaxVit

        return MaxVit(
            (64, 64), stem_channels=8, partition_size=4, block_channels=[8, 16], block_layers=[1, 1], head_dim=4,
            stochastic_depth_prob=0.0, num_classes=CLASSES,
        )  # fmt: skip

    return {
        "vit": (32, vit()),
        "vit with a representation": (32, vit(representation_size=24)),
        "swin": (64, swin(1)),
        "swin, windows that need padding": (48, swin(1, window_size=[5, 5])),
        "swin_v2": (64, swin(2)),
        "maxvit": (64, maxvit),
    }


_TV_VIT: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64,
    "num_classes": CLASSES,
}  # fmt: skip
_TV_SWIN: dict[str, Any] = {
    "patch_size": [4, 4], "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4],
    "num_classes": CLASSES,
}  # fmt: skip

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


def _transformers() -> dict[str, tuple[int, Make]]:
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
            hf("InternVLVisionModel", "InternVLVisionConfig", {**_HF, "image_size": (32, 32), "patch_size": (8, 8)}, _tokens),
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
            hf("FocalNetForImageClassification", "FocalNetConfig", {"image_size": 64, "embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3]}),
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
            hf("PoolFormerForImageClassification", "PoolFormerConfig", {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 32, 32]}),
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


_VP: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "num_classes": CLASSES, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64,
    "dim_head": 16,
}  # fmt: skip


def _vit_pytorch() -> dict[str, tuple[int, Make]]:
    def vp(module: str, name: str, size: int = 32, **kwargs: Any) -> tuple[int, Make]:
        def make() -> nn.Module:
            return getattr(importlib.import_module(f"vit_pytorch.{module}"), name)(**kwargs)  # type: ignore[no-any-return]

        return size, make

    def plain(module: str, name: str, drop: tuple[str, ...] = (), **kwargs: Any) -> tuple[int, Make]:
        return vp(module, name, **{key: value for key, value in {**_VP, **kwargs}.items() if key not in drop})

    def first_of(made: tuple[int, Make]) -> tuple[int, Make]:
        return made[0], lambda: Reads(made[1](), lambda result: result[0])

    twins: dict[str, Any] = {}
    for stage, (width, patch) in enumerate(((16, 4), (16, 2), (32, 2), (32, 2)), 1):
        twins |= {
            f"s{stage}_emb_dim": width, f"s{stage}_patch_size": patch, f"s{stage}_local_patch_size": 2 if stage < 4 else 1,
            f"s{stage}_global_k": 2 if stage < 4 else 1, f"s{stage}_depth": 1,
        }  # fmt: skip
    cvt: dict[str, Any] = {}
    for stage, width in enumerate((16, 16, 32), 1):
        cvt |= {f"s{stage}_emb_dim": width, f"s{stage}_heads": 1, f"s{stage}_depth": 1, f"s{stage}_mlp_mult": 2}
    return {
        "ViT": plain("vit", "ViT"),
        "ViT mean": plain("vit", "ViT", pool="mean"),
        "SimpleViT": plain("simple_vit", "SimpleViT"),
        "SimpleViT registers": plain("simple_vit_with_register_tokens", "SimpleViT"),
        "SimpleViT qk norm": plain("simple_vit_with_qk_norm", "SimpleViT"),
        "SimpleViT value residual": plain("simple_vit_with_value_residual", "SimpleViT"),
        "DeepViT": plain("deepvit", "DeepViT"),
        "CaiT": plain("cait", "CaiT", cls_depth=1),
        "XCiT": plain("xcit", "XCiT", cls_depth=1),
        "ViT small dataset": plain("vit_for_small_dataset", "ViT"),
        "ViT parallel": plain("parallel_vit", "ViT"),
        "ViT patch merger": plain("vit_with_patch_merger", "ViT", patch_merge_layer=1, patch_merge_num_tokens=4),
        "ViT patch dropout": plain("vit_with_patch_dropout", "ViT"),
        "ViT decorr": first_of(plain("vit_with_decorr", "ViT")),
        "ViT keel": plain("vit_with_keel_post_ln", "ViT"),
        "ViT-5": plain("vit_5", "ViT", num_registers=4),
        "JumboViT": plain("jumbo_vit", "JumboViT", jumbo_cls_k=2),
        "SimpleUViT": plain("simple_uvit", "SimpleUViT"),
        "RvT": plain("rvt", "RvT"),
        "nViT": plain("normalized_vit", "nViT"),
        "LookViT": vp(
            "look_vit", "LookViT", 32, dim=32, image_size=32, num_classes=CLASSES, depth=1, patch_size=8, heads=2,
            dim_head=16, highres_patch_size=4, cross_attn_heads=2, cross_attn_dim_head=16,
        ),
        "T2TViT": vp(
            "t2t", "T2TViT", 32, image_size=32, num_classes=CLASSES, dim=32, depth=2, heads=2, mlp_dim=64, dim_head=16,
            t2t_layers=((7, 4), (3, 2)),
        ),
        "CCT": vp(
            "cct", "CCT", 32, img_size=32, embedding_dim=32, kernel_size=3, stride=2, padding=1, num_layers=2,
            num_heads=2, mlp_ratio=2.0, num_classes=CLASSES, positional_embedding="learnable",
        ),
        "CrossViT": vp(
            "cross_vit", "CrossViT", 48, image_size=48, num_classes=CLASSES, sm_dim=16, lg_dim=32, sm_patch_size=12,
            lg_patch_size=16, sm_enc_heads=2, sm_enc_dim_head=8, sm_enc_mlp_dim=32, lg_enc_depth=1, lg_enc_heads=2,
            lg_enc_dim_head=16, lg_enc_mlp_dim=64, cross_attn_depth=1, cross_attn_heads=2, cross_attn_dim_head=8, depth=1,
        ),
        "PiT": vp(
            "pit", "PiT", 32, image_size=32, patch_size=8, num_classes=CLASSES, dim=16, depth=(1, 1), heads=2,
            mlp_dim=32, dim_head=8,
        ),
        "LeViT": vp(
            "levit", "LeViT", 64, image_size=64, num_classes=CLASSES, dim=(16, 24, 32), depth=1, heads=(2, 2, 2),
            mlp_mult=2, dim_key=8, dim_value=16, stages=3,
        ),
        "TwinsSVT": vp("twins_svt", "TwinsSVT", 64, num_classes=CLASSES, **twins),
        "RegionViT": vp(
            "regionvit", "RegionViT", 64, dim=(16, 16, 32, 32), depth=(1, 1, 1, 1), window_size=2, num_classes=CLASSES
        ),
        "NesT": vp(
            "nest", "NesT", 32, image_size=32, patch_size=4, num_classes=CLASSES, dim=16, heads=2, num_hierarchies=2,
            block_repeats=(1, 1),
        ),
        "MaxViT": vp(
            "max_vit", "MaxViT", 32, num_classes=CLASSES, dim=16, depth=(1, 1), dim_head=8, dim_conv_stem=8, window_size=4
        ),
        "MaxViT registers": vp(
            "max_vit_with_registers", "MaxViT", 32, num_classes=CLASSES, dim=16, depth=(1, 1), dim_head=8,
            dim_conv_stem=8, window_size=4,
        ),
        "CvT": vp("cvt", "CvT", 32, num_classes=CLASSES, **cvt),
        "CrossFormer": vp(
            "crossformer", "CrossFormer", 64, dim=(32, 32, 64, 64), depth=(1, 1, 1, 1), global_window_size=(8, 4, 2, 1),
            local_window_size=2, num_classes=CLASSES,
        ),
        "ScalableViT": vp(
            "scalable_vit", "ScalableViT", 64, num_classes=CLASSES, dim=16, heads=(1, 1, 2, 2), depth=(1, 1, 1, 1),
            ssa_dim_key=(8,) * 4, reduction_factor=(2, 2, 1, 1), window_size=(4, 4, None, None),
        ),
        "SepViT": vp(
            "sep_vit", "SepViT", 56, num_classes=CLASSES, dim=16, dim_head=8, heads=(1, 2), depth=(1, 1)
        ),
        "MobileViT": vp(
            "mobile_vit", "MobileViT", 64, image_size=(64, 64), dims=[16, 24, 32],
            channels=[8, 8, 16, 16, 24, 24, 32, 32, 32, 32, 48], num_classes=CLASSES,
        ),
    }  # fmt: skip


class OwnEncoder(nn.Module):
    """A patch embedding, torch's encoder, and a head, as people write it.

    Args:
        batch_first: whether tokens are [B, L, D].
        norm_first: norms before attention and MLP.
        activation: of the MLP.
        mask: `causal`, `boolean`, `padding` or none, all constants.
        rows: tokens stay as rows of a sequence of their own, without a class token.
    """

    def __init__(
        self, *, batch_first: bool, norm_first: bool, activation: str = "gelu", mask: str = "", final: bool = False
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.token, self.position = nn.Parameter(torch.zeros(1, 1, 32)), nn.Parameter(torch.zeros(1, 17, 32))
        layer = nn.TransformerEncoderLayer(
            32, 2, 64, activation=activation, batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32) if final else None)
        self.head, self.batch_first, self.mask = nn.Linear(32, CLASSES), batch_first, mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        mask = padding = None
        if self.mask == "causal":
            mask = nn.Transformer.generate_square_subsequent_mask(17)
        elif self.mask == "boolean":
            mask = torch.ones(17, 17, dtype=torch.bool).triu(5)
        elif self.mask == "padding":
            padding = (torch.arange(17) > 12).expand(x.shape[0], 17)
        if self.batch_first:
            x = self.encoder(x, mask, padding)
        else:
            x = self.encoder(x.transpose(0, 1), mask, padding).transpose(0, 1)
        return self.head(x[:, 0] if self.mask != "causal" else x[:, -1])


class OwnAttention(nn.Module):
    """One `nn.MultiheadAttention` over patches."""

    def __init__(self, *, batch_first: bool, need_weights: bool, mask: bool = False, **kwargs: Any) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 32, 8, 8), nn.LayerNorm(32)
        self.attention = nn.MultiheadAttention(32, 2, batch_first=batch_first, **kwargs)
        self.head, self.batch_first, self.need_weights = nn.Linear(32, CLASSES), batch_first, need_weights
        self.masked = mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.patch(x).flatten(2).transpose(1, 2))
        y = x if self.batch_first else x.transpose(0, 1)
        mask = torch.full((16, 16), float("-inf")).triu(1) if self.masked else None
        y = self.attention(y, y, y, need_weights=self.need_weights, attn_mask=mask)[0]
        return self.head((x + (y if self.batch_first else y.transpose(0, 1))).mean(1))


def _own() -> dict[str, tuple[int, Make]]:
    def encoder(**kwargs: Any) -> tuple[int, Make]:
        return 32, lambda: OwnEncoder(**kwargs)

    def attention(**kwargs: Any) -> tuple[int, Make]:
        return 32, lambda: OwnAttention(**kwargs)

    table = {
        f"encoder {'batch' if batch else 'tokens'} first, norm {'first' if norm else 'last'}, {function}": encoder(
            batch_first=batch, norm_first=norm, activation=function
        )
        for batch in (True, False)
        for norm in (True, False)
        for function in ("relu", "gelu")
    }
    table |= {
        f"encoder {mask} mask, {'batch' if batch else 'tokens'} first": encoder(
            batch_first=batch, norm_first=True, mask=mask, final=True
        )
        for mask in ("causal", "boolean", "padding")
        for batch in (True, False)
    }
    table |= {
        f"attention {'batch' if batch else 'tokens'} first{', weights' if weights else ''}": attention(
            batch_first=batch, need_weights=weights
        )
        for batch in (True, False)
        for weights in (True, False)
    }
    table["attention masked"] = attention(batch_first=True, need_weights=False, mask=True)
    table["attention masked, weights"] = attention(batch_first=False, need_weights=True, mask=True)
    table["attention with bias_kv"] = attention(batch_first=True, need_weights=False, add_bias_kv=True)
    table["attention with zero_attn"] = attention(batch_first=True, need_weights=False, add_zero_attn=True)
    return table


LIBRARIES: dict[str, dict[str, tuple[int, Make]]] = {
    "torchvision": _torchvision(),
    "transformers": _transformers(),
    "vit_pytorch": _vit_pytorch(),
    "torch": _own(),
}
