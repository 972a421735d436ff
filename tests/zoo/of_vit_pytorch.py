"""Models of vit-pytorch, small; the library is imported when the first is made."""

import importlib
from typing import Any

from torch import nn

from zoo.common import CLASSES, Make, Reads

_VP: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "num_classes": CLASSES, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64,
    "dim_head": 16,
}  # fmt: skip


def models() -> dict[str, tuple[int, Make]]:
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
            f"s{stage}_emb_dim": width, f"s{stage}_patch_size": patch,
            f"s{stage}_local_patch_size": 2 if stage < 4 else 1,
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
            lg_enc_dim_head=16, lg_enc_mlp_dim=64, cross_attn_depth=1, cross_attn_heads=2, cross_attn_dim_head=8,
            depth=1,
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
            "max_vit", "MaxViT", 32, num_classes=CLASSES, dim=16, depth=(1, 1), dim_head=8, dim_conv_stem=8,
            window_size=4,
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
