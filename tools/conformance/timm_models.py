"""Every transformer of timm's registry, at the smallest image that it takes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import timm
import torch
from timm.models import list_models

from mptq_export.load.timm.fit import build_meta
from tools.bench.random_checkpoint import randomise

#: timm's modules with transformers in them, by name.
FAMILIES = (
    "beit", "cait", "coat", "convit", "crossvit", "davit", "deepseek_vit", "deit", "edgenext", "efficientformer",
    "efficientformer_v2", "eva", "gcvit", "gemma4_vit", "hiera", "hieradet_sam2", "levit", "maxxvit", "mlp_mixer",
    "mobilevit", "mvitv2", "naflexvit", "nest", "pit", "pvt_v2", "qwen3_vit", "swin_transformer",
    "swin_transformer_v2", "swin_transformer_v2_cr", "tiny_vit", "tnt", "twins", "visformer", "vision_transformer",
    "vision_transformer_hybrid", "vision_transformer_relpos", "vision_transformer_sam", "vitamin", "volo", "xcit",
)  # fmt: skip


def names() -> list[tuple[str, str]]:
    """Architectures and their families."""
    return [(name, family) for family in FAMILIES for name in list_models(module=family)]


def smallest(arch: str) -> tuple[dict[str, Any], int, int]:
    """Arguments for the smallest image that the model can be built for, its side, and the parameters."""
    plain = build_meta(arch, {})
    side = int(plain.pretrained_cfg["input_size"][-1])  # type: ignore[index]
    count = sum(parameter.numel() for parameter in plain.parameters())
    for smaller in _sides(plain, side):
        for arguments in ({"img_size": smaller}, {}):  # some models take any image
            with contextlib.suppress(Exception):  # timm raises what it likes; the next size is tried
                build_meta(arch, arguments).eval()(torch.zeros(1, 3, smaller, smaller, device="meta"))
                return arguments, smaller, count
    return {}, side, count


def _sides(model: torch.nn.Module, side: int) -> Iterator[int]:
    """Smaller image sides, smallest first: a few patches, or windows that still tile every stage."""
    embed: Any = getattr(model, "patch_embed", None)
    patch = embed.feat_ratio() if hasattr(embed, "feat_ratio") else getattr(embed, "patch_size", None) or 16
    patch = patch[0] if isinstance(patch, (tuple, list)) else int(patch)
    if hasattr(model, "layers") or hasattr(model, "stages"):  # windows, halved between stages
        yield from (s for s in (side // 2,) if s % (patch * 8) == 0)
    else:
        yield from (s for s in (patch * 4, patch * 8) if s < side)


def randomised(arch: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """A model with random weights of unit gain, norms near one, and biases that are not zero."""
    torch.manual_seed(0)
    model: torch.nn.Module = timm.create_model(arch, **arguments).requires_grad_(False).eval()
    randomise(model)
    return model
