"""Small models of vit-pytorch: a module of the library, a class in it, what it is built with."""

import importlib
from typing import Any

from torch import nn

_VIT: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 7,
    "dim": 32,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 64,
    "dim_head": 16,
}
_PLAIN = {name: value for name, value in _VIT.items() if name != "dim_head"}

#: Class of the library by `module.class`, its arguments, and the side of the image.
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "vit.ViT": (_VIT, 32),
    "simple_vit.SimpleViT": (_VIT, 32),
    "deepvit.DeepViT": (_VIT, 32),
    "cait.CaiT": ({**_VIT, "cls_depth": 1}, 32),
    "parallel_vit.ViT": ({**_VIT, "num_parallel_branches": 2}, 32),
    "vit_for_small_dataset.ViT": (_VIT, 32),
    "vit_with_patch_merger.ViT": ({**_VIT, "depth": 4, "patch_merge_layer": 2, "patch_merge_num_tokens": 4}, 32),
    "vit_with_patch_dropout.ViT": ({**_VIT, "patch_dropout": 0.0}, 32),
    "simple_vit_with_register_tokens.SimpleViT": ({**_VIT, "num_register_tokens": 2}, 32),
    "simple_vit_with_qk_norm.SimpleViT": (_VIT, 32),
    "simple_vit_with_value_residual.SimpleViT": (_VIT, 32),
    "simple_vit_with_relative_proj_pos_bias.SimpleViT": (_VIT, 32),
    "simple_vit_with_fft.SimpleViT": (
        {**_VIT, "freq_patch_size": 8},
        32,
    ),
    "learnable_memory_vit.ViT": (_PLAIN, 32),
    "normalized_vit.nViT": ({**_VIT}, 32),
    "pit.PiT": ({**{n: v for n, v in _VIT.items() if n != "depth"}, "depth": (1, 1)}, 32),
    "cct.CCT": (
        {
            "img_size": 32,
            "embedding_dim": 32,
            "n_conv_layers": 1,
            "kernel_size": 7,
            "stride": 4,
            "padding": 3,
            "num_layers": 2,
            "num_heads": 2,
            "mlp_ratio": 2.0,
            "num_classes": 7,
            "positional_embedding": "learnable",
        },
        32,
    ),
    "levit.LeViT": (
        {"image_size": 64, "num_classes": 7, "stages": 2, "dim": (32, 48), "depth": 1, "heads": (2, 3), "mlp_mult": 2},
        64,
    ),
    "cvt.CvT": (
        {
            "num_classes": 7,
            "s1_emb_dim": 16,
            "s2_emb_dim": 32,
            "s2_heads": 2,
            "s3_emb_dim": 32,
            "s3_heads": 2,
            "s3_depth": 1,
        },
        64,
    ),
    "twins_svt.TwinsSVT": (
        {
            "num_classes": 7,
            "s1_emb_dim": 16,
            "s2_emb_dim": 16,
            "s3_emb_dim": 32,
            "s4_emb_dim": 32,
            "s1_local_patch_size": 4,
            "s2_local_patch_size": 4,
            "s3_local_patch_size": 2,
            "s4_local_patch_size": 1,
            "s1_global_k": 4,
            "s2_global_k": 4,
            "s3_global_k": 2,
            "s4_global_k": 1,
            "s3_depth": 1,
        },
        64,
    ),
    "max_vit.MaxViT": (
        {
            "num_classes": 7,
            "dim": 16,
            "dim_conv_stem": 8,
            "depth": (1, 1),
            "dim_head": 8,
            "window_size": 4,
            "mbconv_expansion_rate": 2,
            "mbconv_shrinkage_rate": 0.25,
        },
        64,
    ),
    "cross_vit.CrossViT": (
        {
            "image_size": 32,
            "num_classes": 7,
            "sm_dim": 16,
            "lg_dim": 32,
            "sm_patch_size": 8,
            "lg_patch_size": 16,
            "sm_enc_depth": 1,
            "sm_enc_heads": 2,
            "sm_enc_mlp_dim": 32,
            "lg_enc_depth": 1,
            "lg_enc_heads": 2,
            "lg_enc_mlp_dim": 64,
            "cross_attn_depth": 1,
            "cross_attn_heads": 2,
            "depth": 1,
        },
        32,
    ),
    "mobile_vit.MobileViT": (
        {
            "image_size": (64, 64),
            "dims": [32, 40, 48],
            "channels": [8, 8, 16, 16, 24, 24, 32, 32, 40, 40, 48],
            "num_classes": 7,
        },
        64,
    ),
    "xcit.XCiT": (
        {**_VIT, "cls_depth": 1},
        32,
    ),
    "nest.NesT": (
        {
            "image_size": 32,
            "patch_size": 4,
            "num_classes": 7,
            "dim": 16,
            "heads": 2,
            "num_hierarchies": 2,
            "block_repeats": (1, 1),
        },
        32,
    ),
    "scalable_vit.ScalableViT": (
        {
            "num_classes": 7,
            "dim": 16,
            "heads": (1, 2, 2, 2),
            "depth": (1, 1, 1, 1),
            "ssa_dim_key": (8, 8, 8, 8),
            "reduction_factor": (4, 2, 1, 1),
            "window_size": (8, 4, None, None),
        },
        64,
    ),
    "regionvit.RegionViT": (
        {
            "num_classes": 7,
            "dim": (16, 32, 32, 32),
            "depth": (1, 1, 1, 1),
            "window_size": 2,
            "tokenize_local_3_conv": False,
        },
        64,
    ),
}


def build(name: str) -> nn.Module:
    """The model of a class, with the random weights that the library gives it."""
    module, _, kind = name.partition(".")
    made: nn.Module = getattr(importlib.import_module(f"vit_pytorch.{module}"), kind)(**MODELS[name][0])
    return made.eval().requires_grad_(False)
