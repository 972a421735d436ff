"""Files as the authors of an architecture publish them, and those whose model timm does not have."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mptq_export.load.loaders import load_model
from tests.load.timm.helpers import VIT, model_of, refusal, saved

STAGES: dict[str, Any] = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}


@pytest.mark.parametrize(
    ("arch", "size", "kwargs"),
    [
        ("swin_tiny_patch4_window7_224", 64, {**STAGES, "window_size": 4}),
        ("swinv2_tiny_window8_256", 64, {**STAGES, "window_size": 4}),
        ("beit_base_patch16_224", 32, VIT),
        ("cait_xxs24_224", 32, {**VIT, "depth_token_only": 1}),
        ("deit_tiny_patch16_224", 32, VIT),
        ("deit_tiny_distilled_patch16_224", 32, VIT),
    ],
)
def test_an_official_file(tmp_path: Path, arch: str, size: int, kwargs: dict[str, Any]):
    """Swin merges patches at the end of a stage and keeps its buffers, which are compared with timm's."""
    model = model_of(arch, img_size=size, num_classes=5, **kwargs)
    tensors: dict[str, Tensor] = {**model.state_dict(), **dict(model.named_buffers())}
    tensors = {name: tensor for name, tensor in tensors.items() if "k_bias" not in name}
    if arch.startswith("swin"):
        old = {}
        for name, tensor in tensors.items():
            named = name.replace("head.fc.", "head.").replace("layers.1.downsample", "layers.0.downsample")
            old[named] = tensor
        tensors = old
    path = saved(tmp_path / "m.pth", {"model": tensors, "args": Namespace(model=arch, lr=0.1), "epoch": 3})
    loaded = load_model(path, model_kwargs={**kwargs, "img_size": size})
    images = torch.randn(2, 3, size, size)
    assert torch.equal(loaded.model(images), model(images))
    assert (loaded.arch, loaded.model_kwargs["num_classes"], loaded.warnings) == (arch, 5, ())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("backbone.simfp_2.0.weight", "a ViTDet of detectron2 without relative positions"),
        ("layers.2.blocks.1.mlp._moe_layer.experts.batched_fc1_w", "a mixture of experts"),
        ("visual.attn_pool.query", "a CoCa of OpenCLIP"),
    ],
)
def test_models_that_timm_does_not_have(tmp_path: Path, name: str, told: str):
    tensors = model_of("vit_tiny_patch16_224", **VIT, img_size=32).state_dict()
    path = saved(tmp_path / "m.pth", {**tensors, name: torch.ones(2)})
    assert f"is {told}" in refusal(path)
    assert f"is {told}" in refusal(path, arch="vit_tiny_patch16_224", model_kwargs=VIT)


@pytest.mark.parametrize("own", [4, 8])
def test_the_backbone_of_vitdet(tmp_path: Path, own: int):
    """Its positions are those of pretraining, 4x4 and one for the class token, resampled for 8x8 in every run."""
    built = {**VIT, "window_size": 4, "global_attn_indexes": (1,), "use_rel_pos": True, "neck_chans": 0}
    built |= {"num_classes": 0, "global_pool": "", "img_size": 64}
    model: Any = model_of("samvit_base_patch16", **built)
    model.neck = nn.Identity()
    positions = torch.randn(1, 1 + own * own, 32)
    grid = positions[:, 1:].reshape(1, own, own, 32).permute(0, 3, 1, 2)
    grid = grid if own == 8 else nn.functional.interpolate(grid, size=(8, 8), mode="bicubic", align_corners=False)
    model.pos_embed.data.copy_(grid.permute(0, 2, 3, 1))
    net = {f"backbone.net.{name}": tensor for name, tensor in model.state_dict().items() if "neck" not in name}
    more = {"backbone.simfp_2.0.weight": torch.ones(2), "roi_heads.box_head.fc1.weight": torch.ones(2)}
    path = saved(tmp_path / "m.pth", {"model": {**net, "backbone.net.pos_embed": positions, **more}})
    loaded = load_model(path)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.model(images), model(images))
    assert loaded.arch_source == "named by the weights"
    assert loaded.model(images).shape == (1, 32, 8, 8)
    notes = " ".join(loaded.notes)
    assert "the pyramid or the detector behind the backbone" in notes
    assert ("pos_embed is resampled to this image size" in notes) == (own == 4)
    maps = load_model(path).with_features((0, 1))
    assert torch.equal(maps.model(images)[1], model(images))
    assert loaded.preprocessing.input_size == (3, 64, 64)
