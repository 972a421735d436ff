"""What timm's conversion drops, cuts, makes up or changes is found, and named; what is harmless is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from mptq_export.load.loaders import load_model
from mptq_export.load.timm.convert import convert
from mptq_export.load.timm.harmless import reason_of
from mptq_export.support.errors import MptqError

DINO = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 5}
NAME = "vit_tiny_patch16_224"
SWIN = "swin_tiny_patch4_window7_224"
SWIN_BUILT = {"window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "num_classes": 3}


def refusal(path: Path, content: Any, **kwargs: Any) -> str:
    torch.save(content, path)
    with pytest.raises(MptqError) as caught:
        load_model(path, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dinov3() -> dict[str, Tensor]:
    """The names of the official files."""
    torch.manual_seed(0)
    names = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    found = {}
    for name, tensor in timm.create_model("vit_small_patch16_dinov3", **DINO).state_dict().items():
        stored = name
        for ours, theirs in names.items():
            stored = stored.replace(ours, theirs)
        found[stored] = torch.randn_like(tensor) * 0.3
    mask = torch.ones(96)
    mask[32:64] = 0
    for i in (0, 1):
        found[f"blocks.{i}.attn.qkv.bias"] = torch.randn(96)
        found[f"blocks.{i}.attn.qkv.bias_mask"] = mask
    return {**found, "mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}


def test_a_bias_that_timm_drops_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    message = refusal(tmp_path / "m.pt", dinov3(), arch="vit_small_patch16_dinov3", model_kwargs=DINO)
    assert "dropped by timm's conversion though not zero: blocks.0.attn.qkv.bias, blocks.1.attn.qkv.bias" in message
    assert "Pass the right --arch (timm also has vit_small_patch16_dinov3_qkvb)" in message
    assert capsys.readouterr().out == ""  # timm prints what it does not find


def test_a_bias_of_zeros_may_be_dropped(tmp_path: Path):
    tensors = {name: torch.zeros_like(t) if name.endswith("qkv.bias") else t for name, t in dinov3().items()}
    torch.save(tensors, tmp_path / "m.pt")
    assert load_model(tmp_path / "m.pt", arch="vit_small_patch16_dinov3", model_kwargs=DINO)


def test_the_part_that_a_mask_sets_to_zero_may_be_dropped_and_no_other(tmp_path: Path):
    arch, tensors = "vit_small_patch16_dinov3_qkvb", dinov3()
    torch.save(tensors, tmp_path / "m.pt")
    loaded = load_model(tmp_path / "m.pt", arch=arch, model_kwargs=DINO)
    assert torch.equal(loaded.model.blocks[1].attn.v_bias, tensors["blocks.1.attn.qkv.bias"][64:])
    reasons = " ".join(loaded.notes)
    for name in ("blocks.0.attn.qkv.bias_mask and 1 more like it", "mask_token", "rope_embed.periods"):
        assert f"{name} left out: " in reasons
    assert loaded.warnings[0].startswith("rope_embed.periods differs from the rotary periods of this architecture")
    unmasked = {name: tensor for name, tensor in tensors.items() if not name.endswith("bias_mask")}
    message = refusal(tmp_path / "m.pt", unmasked, arch=arch, model_kwargs=DINO)
    assert "blocks.0.attn.qkv.bias (32 values of it)" in message


def test_a_mask_beside_timms_own_names_is_multiplied_in(tmp_path: Path):
    """Where all names fit, nothing is converted; the bias that counts is still the masked one."""
    state = dict(timm.create_model("vit_tiny_patch16_224", **DINO, class_token=False, global_pool="avg").state_dict())
    state["blocks.0.attn.qkv.bias"] = torch.ones(96)
    mask = torch.ones(96)
    mask[32:64] = 0
    torch.save({**state, "blocks.0.attn.qkv.bias_mask": mask}, tmp_path / "m.pt")
    options = {**DINO, "class_token": False, "global_pool": "avg"}
    loaded = load_model(tmp_path / "m.pt", arch="vit_tiny_patch16_224", model_kwargs=options)
    assert torch.equal(loaded.model.blocks[0].attn.qkv.bias, mask)


def test_timms_own_names_are_not_converted(tmp_path: Path):
    """Beside a `mask_token`, timm takes the norm for one that it has to rename."""
    model = timm.create_model("vit_small_patch16_dinov3", **DINO).eval()
    torch.save({**model.state_dict(), "mask_token": torch.zeros(1, 32)}, tmp_path / "m.pt")
    loaded = load_model(tmp_path / "m.pt", arch="vit_small_patch16_dinov3", model_kwargs=DINO)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded.model(images), model(images))


def test_the_image_tower_of_a_clip(tmp_path: Path):
    """Its projection has no bias: timm makes one up, of zeros. The text tower is left out."""
    torch.manual_seed(0)
    model = timm.create_model("vit_base_patch16_clip_224", **VIT).eval()
    model.head.bias.data.zero_()
    inside = {"patch_embed.proj": "conv1", "blocks.": "transformer.resblocks.", "norm_pre": "ln_pre", "norm1": "ln_1"}
    inside |= {"norm2": "ln_2", "qkv.": "in_proj_", "attn.proj": "attn.out_proj", "fc1": "c_fc", "fc2": "c_proj"}
    stored: dict[str, Tensor] = {
        "text_projection": torch.ones(8, 8),
        "transformer.resblocks.0.ln_1.bias": torch.ones(8),
    }
    for name, tensor in model.state_dict().items():
        named = {"cls_token": "class_embedding", "pos_embed": "positional_embedding", "head.weight": "proj"}.get(
            name, name
        )
        named = f"ln_post.{name[5:]}" if name.startswith("norm.") else named
        for ours, theirs in inside.items():
            named = named.replace(ours, theirs)
        if name != "head.bias":
            stored[f"visual.{named}"] = tensor.T.contiguous() if name == "head.weight" else tensor.squeeze(0)
    stored["visual.class_embedding"] = stored["visual.class_embedding"].squeeze(0)
    torch.save(stored, tmp_path / "m.pt")
    loaded = load_model(tmp_path / "m.pt", arch="vit_base_patch16_clip_224", model_kwargs=VIT)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded.model(images), model(images))
    assert "text tower" in " ".join(loaded.notes)


def test_an_unknown_tensor_is_an_error_a_known_one_a_note(tmp_path: Path):
    tensors = timm.create_model(NAME, **VIT).state_dict()
    torch.save({**tensors, "mask_token": torch.ones(1, 32), "decoder_pred.weight": torch.ones(3)}, tmp_path / "m.pt")
    loaded = load_model(tmp_path / "m.pt", arch=NAME, model_kwargs=VIT)
    assert len(loaded.notes) == 2
    message = refusal(tmp_path / "m.pt", {**tensors, "aux.weight": torch.ones(3)}, arch=NAME, model_kwargs=VIT)
    assert "unexpected aux.weight" in message


def test_a_layer_before_the_head_that_timm_drops(tmp_path: Path):
    """Weights of ImageNet-21k had a layer and a tanh there: without it the head reads something else."""
    tensors = timm.create_model(NAME, **VIT).state_dict()
    more = {"pre_logits.fc.weight": torch.ones(32, 32), "pre_logits.fc.bias": torch.ones(32)}
    message = refusal(tmp_path / "m.pt", {**tensors, **more}, arch=NAME, model_kwargs=VIT)
    assert "pre_logits.fc.bias, pre_logits.fc.weight" in message


def test_buffers_of_swin_tell_another_size(tmp_path: Path):
    model = timm.create_model(SWIN, img_size=64, **SWIN_BUILT)
    mask = {name: buffer for name, buffer in model.named_buffers() if name.endswith(("attn_mask", "index"))}
    assert len(mask) > 4
    content = {"arch": SWIN, "model_kwargs": SWIN_BUILT, "state_dict": {**model.state_dict(), **mask}}
    message = refusal(tmp_path / "m.pt", content, model_kwargs={"img_size": 32})
    assert "attn_mask" in message and "--img-size" in message
    assert load_model(tmp_path / "m.pt", model_kwargs={"img_size": 64}).preprocessing.input_size == (3, 64, 64)


class Toy(nn.Module):
    """Its filter is the one under test."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 4)


@pytest.mark.parametrize(
    ("change", "dropped", "cut", "computed"),
    [
        (lambda d: {"w": d["a"].T.reshape(-1), "b": d["b"][None]}, [], {}, []),
        (lambda d: {"qkv": torch.cat([d["b"], d["a"]])}, [], {}, []),
        (lambda d: dict(zip("xyz", d["a"].chunk(3), strict=True)) | {"b": d["b"]}, [], {}, []),
        (lambda d: {"x": d["a"].chunk(3)[0], "b": d["b"]}, [], {"a": 8}, []),
        (lambda d: {"a": d["a"]}, ["b"], {}, []),
        (lambda d: {"a": d["b"], "b": d["b"]}, ["a"], {}, []),
        (lambda d: {"a": d["a"], "b": d["b"] + d["a"][0]}, ["b"], {}, ["b"]),
        (lambda d: {"a": d["a"] * 0.5, "b": d["b"]}, ["a"], {}, ["a"]),
        (lambda d: {"a": (d["a"] + d["a"].flip(0)) / 2, "b": d["b"]}, ["a"], {}, ["a"]),
        (lambda d: {**d, "head.bias": torch.zeros(3)}, [], {}, []),
        (lambda d: {**d, "head.bias": torch.ones(3)}, [], {}, ["head.bias"]),
        (lambda d: {**d, "head.weight": torch.zeros(3)}, [], {}, ["head.weight"]),
    ],
)
def test_every_value_is_followed(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    dropped: list[str],
    cut: dict[str, int],
    computed: list[str],
):
    tensors = {"a": torch.randn(6, 2), "b": torch.randn(1, 2)}
    monkeypatch.setattr(f"{__name__}.checkpoint_filter_fn", lambda state, _model: change(state), raising=False)
    found = convert(tensors, Toy())
    assert (sorted(found.dropped), found.cut, list(found.computed)) == (dropped, cut, computed)


def test_tied_tensors_are_two(monkeypatch: pytest.MonkeyPatch):
    both = torch.randn(4)
    monkeypatch.setattr(f"{__name__}.checkpoint_filter_fn", lambda state, _: {"a": state["a"]}, raising=False)
    assert list(convert({"a": both, "b": both}, Toy()).dropped) == ["b"]


@pytest.mark.parametrize(
    ("name", "beside", "harmless"),
    [
        ("transformer.resblocks.0.ln_1.weight", "visual.conv1.weight", True),
        ("transformer.resblocks.0.ln_1.weight", "conv1.weight", False),
        ("text.token_embedding.weight", "visual.trunk.pos_embed", True),
        ("lm_head.weight", "mask_token", True),
        ("lm_head.weight", "pos_embed", False),
        ("decoder.weight", "pos_embed", True),
        ("mask_tokens", "pos_embed", False),
        ("head_dist.weight", "pos_embed", False),
    ],
)
def test_the_list_of_harmless_tensors(name: str, beside: str, harmless: bool):
    assert (reason_of(name, [name, beside]) is not None) == harmless
