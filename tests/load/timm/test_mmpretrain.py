"""Names of mmpretrain: those of timm's models, renamed as that library has them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mptq_export.load.loaders import load_model
from mptq_export.load.timm.layouts.mmpretrain import SWIN
from tests.load.timm.helpers import IMAGES, VIT, model_of, refusal, renamed, saved

INSIDE = (
    ("patch_embed.proj.", "patch_embed.projection."),
    ("mlp.fc1.", "ffn.layers.0.0."),
    ("mlp.fc2.", "ffn.layers.1."),
)
VITS = (
    *INSIDE,
    ("blocks.", "layers."),
    ("norm1.", "ln1."),
    ("norm2.", "ln2."),
    ("ls1.gamma", "attn.gamma1.weight"),
    ("ls2.gamma", "ffn.gamma2.weight"),
    ("head.", "HEAD.layers.head."),
    ("head_dist.", "HEAD.layers.head_dist."),
)


def of_mmpretrain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A ViT of timm under the names of that library."""
    found = {}
    for name, tensor in renamed(tensors, *VITS).items():
        first, _, rest = name.partition(".")
        last = {"norm": "ln1", "fc_norm": "ln2"}.get(first, first)
        found[f"head.{rest}" if first == "HEAD" else f"backbone.{last}.{rest}".removesuffix(".")] = tensor
    return found


@pytest.mark.parametrize(
    ("arch", "more"),
    [
        ("vit_base_patch16_224", {}),
        ("vit_base_patch16_224", {"global_pool": "avg"}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("deit3_small_patch16_224", {}),
        ("beit_base_patch16_224", {}),
    ],
)
def test_a_vit(tmp_path: Path, arch: str, more: dict[str, Any]):
    model = model_of(arch, **VIT, img_size=32, num_classes=5, **more)
    path = saved(tmp_path / "m.pth", {"state_dict": of_mmpretrain(model.state_dict())})
    loaded = load_model(path, arch=arch, model_kwargs={**VIT, "img_size": 32})
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert "the names are those of mmpretrain, converted to timm's" in loaded.notes
    bare = {name.removeprefix("backbone."): t for name, t in of_mmpretrain(model.state_dict()).items()}
    loaded = load_model(saved(path, bare), arch=arch, model_kwargs={**VIT, "img_size": 32})
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))


class UnfoldedMerging(nn.Module):
    """Four patches to one as mmpretrain does it: channel first, then row, then column."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """From [B, H, W, C] to [B, H / 2, W / 2, 2 C]."""
        batch, height, width, _ = x.shape
        rows = nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
        merged: Tensor = self.reduction(self.norm(rows)).reshape(batch, height // 2, width // 2, -1)
        return merged


def test_a_swin(tmp_path: Path):
    arch, built = "swin_tiny_patch4_window7_224", {"embed_dim": 16, "depths": (2, 2, 2), "num_heads": (2, 4, 8)}
    kwargs = {**built, "window_size": 2, "img_size": 32}
    model = model_of(arch, **kwargs, num_classes=5)
    for i in (1, 2):
        merging = UnfoldedMerging(8 * 2**i)
        torch.nn.init.normal_(merging.norm.weight)
        model.layers[i].downsample = merging.requires_grad_(False)
    tensors = dict(model.state_dict())
    for name in list(tensors):
        for i in (1, 2):
            if name.startswith(f"layers.{i}.downsample."):
                tensors[name.replace(f"layers.{i}", f"stages.{i - 1}", 1)] = tensors.pop(name)
    pairs = (*INSIDE, ("layers.", "stages."), (".attn.", ".attn.w_msa."), ("ffn.stages.", "ffn.layers."))
    named = {f"backbone.{name}": tensor for name, tensor in renamed(tensors, *pairs).items()}
    named = renamed(named, ("backbone.head.", "head."), ("backbone.norm.", "backbone.norm2."))
    assert "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight" in named and "head.fc.weight" in named
    assert SWIN.recognises(named)
    loaded = load_model(saved(tmp_path / "m.pth", named), arch=arch, model_kwargs=kwargs)
    assert torch.allclose(loaded.model(IMAGES), model(IMAGES), atol=1e-6)
    named["backbone.stages.0.blocks.0.attn.w_msa.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    message = refusal(saved(tmp_path / "m.pth", named), arch=arch, model_kwargs=kwargs)
    assert "layers.0.blocks.0.attn.relative_position_index [49, 49]" in message
