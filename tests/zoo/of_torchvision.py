"""torchvision's transformers, small."""

from typing import Any

from torch import nn

from zoo.common import CLASSES, Make


def models() -> dict[str, tuple[int, Make]]:
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
