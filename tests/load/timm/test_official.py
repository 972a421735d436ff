"""Files as the authors of an architecture publish them, and those whose model timm does not have."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

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
        ("backbone.net.blocks.0.attn.rel_pos_h", "a ViTDet of detectron2"),
        ("backbone.simfp_2.0.weight", "a ViTDet of detectron2"),
        ("layers.2.blocks.1.mlp._moe_layer.experts.batched_fc1_w", "a mixture of experts"),
        ("visual.attn_pool.query", "a CoCa of OpenCLIP"),
    ],
)
def test_models_that_timm_does_not_have(tmp_path: Path, name: str, told: str):
    tensors = model_of("vit_tiny_patch16_224", **VIT, img_size=32).state_dict()
    path = saved(tmp_path / "m.pth", {**tensors, name: torch.ones(2)})
    assert f"is {told}" in refusal(path)
    assert f"is {told}" in refusal(path, arch="vit_tiny_patch16_224", model_kwargs=VIT)
