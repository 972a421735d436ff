"""Rotary angles that a checkpoint holds are held against those of its model: they are left out, but not unseen."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from mptq_export.load.loaders import load_model
from mptq_export.support.errors import MptqError

BUILT = {"img_size": 56, "embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 3}
EVA = "eva02_tiny_patch14_224"
DINO = "vit_small_patch16_dinov3"
GRID, PRETRAINED_GRID, HEAD = 4, 16, 16


def angles(base: float = 10000.0, grid: int = GRID) -> Tensor:
    """(positions, channels of a head): half of the channels turn with the row, half with the column, by pairs."""
    pairs = HEAD // 4
    frequency = base ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    place = torch.arange(grid, dtype=torch.float64) / grid * PRETRAINED_GRID
    turned = (place[:, None] * frequency).repeat_interleave(2, dim=1)
    rows, columns = turned[:, None].expand(-1, grid, -1), turned[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=-1).reshape(grid * grid, HEAD)


def warned(path: Path, arch: str, **more: Tensor) -> tuple[str, ...]:
    named = {name.replace("__", "."): tensor for name, tensor in more.items()}
    torch.save({**timm.create_model(arch, **BUILT).state_dict(), **named}, path)
    return load_model(path, arch=arch, model_kwargs=BUILT).warnings


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_angles_of_the_model_itself_are_left_out_in_silence(dtype: torch.dtype, tmp_path: Path):
    own = angles()
    assert not warned(
        tmp_path / "m.pt",
        EVA,
        rope__freqs_cos=own.cos().to(dtype),
        rope__freqs_sin=own.sin().to(dtype),
        blocks__0__attn__rope__freqs_cos=own.cos().to(dtype),
        rope__inv_freq=(10000.0 ** -(torch.arange(4, dtype=torch.float64) / 4)).to(dtype),
    )


@pytest.mark.parametrize(
    ("name", "stored", "words"),
    [
        ("rope__freqs_cos", angles(9000.0).cos(), "cosines"),
        ("rope__freqs_sin", angles(9000.0).sin(), "sines"),
        ("rope__freqs_sin", angles().cos(), "sines"),
        ("rope__freqs_cos", angles(grid=8).cos(), "cosines"),
        ("rope__inv_freq", 9000.0 ** -(torch.arange(4) / 4), "frequencies"),
    ],
)
def test_others_are_a_warning(name: str, stored: Tensor, words: str, tmp_path: Path):
    (told,) = warned(tmp_path / "m.pt", EVA, **{name: stored, f"blocks__0__attn__{name}": stored})
    assert told.startswith(f"{name.replace('__', '.')} and 1 more like it differs from the rotary {words} of this")


def test_periods_and_frequencies_are_each_others_inverse(tmp_path: Path):
    (own,) = [b for n, b in timm.create_model(DINO, **BUILT).named_buffers() if n.endswith("periods")]
    assert not warned(tmp_path / "m.pt", DINO, rope_embed__periods=own.bfloat16(), rope_embed__inv_freq=1 / own)
    told = warned(tmp_path / "m.pt", DINO, rope_embed__periods=1.01 * own, rope_embed__inv_freq=own)
    assert [text.split()[0] for text in told] == ["rope_embed.periods", "rope_embed.inv_freq"]


def test_a_model_without_rotary_positions_is_another_one(tmp_path: Path):
    with pytest.raises(MptqError, match=r"rotary positions \(rope\.freqs_cos\), and vit_tiny_patch16_224 has none"):
        warned(tmp_path / "m.pt", "vit_tiny_patch16_224", rope__freqs_cos=angles().cos())
