"""Towers of OpenAI CLIP and OpenCLIP, held against open_clip where it is installed; and which activation they need."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.loaders import load_model
from mptq_export.load.outputs import LOGITS, Output
from mptq_export.load.timm.architecture import Architecture, resolve_architecture
from mptq_export.load.timm.fit import build_meta
from mptq_export.load.timm.layouts.table import translated
from mptq_export.support.errors import MptqError
from tests.load.timm.helpers import IMAGES, VIT, model_of, refusal, renamed, saved

PLAIN, QUICK = "vit_base_patch16_clip_224", "vit_base_patch16_clip_quickgelu_224"
OPENAIS = {name: torch.tensor(8) for name in ("input_resolution", "context_length", "vocab_size")}
NAMES = (
    ("patch_embed.proj", "conv1"),
    ("blocks.", "transformer.resblocks."),
    ("norm_pre", "ln_pre"),
    ("norm1", "ln_1"),
    ("norm2", "ln_2"),
    ("attn.qkv.", "attn.in_proj_"),
    ("attn.proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("norm.", "ln_post."),
    ("pos_embed", "positional_embedding"),
    ("cls_token", "class_embedding"),
)


def tower(tensors: dict[str, Tensor], start: str = "visual.") -> dict[str, Tensor]:
    """A tower of timm under the names of CLIP."""
    found = renamed({name: tensor for name, tensor in tensors.items() if name != "head.bias"}, *NAMES)
    found["proj"] = found.pop("head.weight").T.contiguous()
    found["class_embedding"], found["positional_embedding"] = (
        found["class_embedding"][0, 0],
        found["positional_embedding"][0],
    )
    return {start + name: tensor for name, tensor in found.items()}


@pytest.fixture(scope="module")
def small() -> nn.Module:
    model = model_of(PLAIN, **VIT, img_size=32, num_classes=16)
    model.head.bias.data.zero_()  # type: ignore[union-attr, operator]
    return model


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_the_tower_of_open_clip(tmp_path: Path, quick: bool, half: bool):
    open_clip = pytest.importorskip("open_clip.model", reason="open_clip_torch is not installed")
    torch.manual_seed(0)
    sizes = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32, "ls_init_value": 0.3}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    clip = open_clip.CLIP(16, vision_cfg=sizes, text_cfg=text, quick_gelu=quick).eval().requires_grad_(False)
    for parameter in clip.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
        if half:
            parameter.data = parameter.half().float()
    tensors = {name: tensor.half() if half else tensor for name, tensor in clip.state_dict().items()}
    arch, options = QUICK if quick else PLAIN, {**VIT, "init_values": 1.0}
    loaded = load_model(saved(tmp_path / "m.pt", tensors), arch=arch, model_kwargs=options)
    assert (loaded.model(IMAGES) - clip.encode_image(IMAGES)).abs().max() < 1e-5
    assert loaded.model_kwargs["num_classes"] == 16
    assert loaded.outputs == (Output("image_embeds", "embedding"),)
    assert "it belongs to the text tower" in " ".join(loaded.notes)
    assert [warning.startswith("GELU or QuickGELU: ") for warning in loaded.warnings] == [True] * (not quick)


@pytest.mark.parametrize("start", ["", "visual."])
def test_a_tower_alone(tmp_path: Path, small: nn.Module, start: str):
    path = saved(tmp_path / "m.pt", tower(small.state_dict(), start))
    loaded = load_model(path, arch=PLAIN, model_kwargs=VIT)
    assert torch.equal(loaded.model(IMAGES), small(IMAGES))
    assert "the names are those of OpenAI CLIP and OpenCLIP, converted to timm's" in loaded.notes


def test_a_tower_of_timm_in_open_clip(tmp_path: Path):
    model = model_of("vit_base_patch16_siglip_224", **VIT, img_size=32, num_classes=0)
    tensors = {f"visual.trunk.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {"text.transformer.resblocks.0.ln_1.weight": torch.ones(4), "logit_scale": torch.tensor(1.0)}
    path = saved(tmp_path / "m.pt", tensors)
    loaded = load_model(path, arch="vit_base_patch16_siglip_224", model_kwargs=VIT)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    projected = load_model(
        saved(path, {**tensors, "visual.head.proj.weight": torch.eye(32)[:5]}),
        arch="vit_base_patch16_siglip_224",
        model_kwargs=VIT,
    )
    assert torch.allclose(projected.model(IMAGES), model(IMAGES)[:, :5], atol=1e-6)


@pytest.mark.parametrize("quick", [False, True])
def test_a_folder_of_open_clip(tmp_path: Path, quick: bool):
    """Its configuration says all that no tensor shows: heads, activation, mean and std."""
    open_clip = pytest.importorskip("open_clip.model", reason="open_clip_torch is not installed")
    torch.manual_seed(0)
    sizes = {"layers": 2, "width": 48, "head_width": 16, "patch_size": 8, "image_size": 32, "mlp_ratio": 3.0}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    clip = open_clip.CLIP(16, vision_cfg=sizes, text_cfg=text, quick_gelu=quick).eval().requires_grad_(False)
    torch.save(clip.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    seen = {"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1], "interpolation": "bilinear", "resize_mode": "squash"}
    model = {"embed_dim": 16, "quick_gelu": quick, "vision_cfg": sizes, "text_cfg": text}
    config = {"model_cfg": model, "preprocess_cfg": seen}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    loaded = load_model(tmp_path)
    assert (loaded.model(IMAGES) - clip.encode_image(IMAGES)).abs().max() < 1e-5
    assert loaded.arch == (QUICK if quick else PLAIN)
    assert loaded.arch_source == "named by open_clip_config.json"
    found = loaded.preprocessing
    assert (found.mean, found.std, found.interpolation) == ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1), "bilinear")
    assert (found.crop_mode, found.crop_pct, loaded.warnings) == ("squash", 1.0, ())
    sizes["pool_type"] = "avg"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert "has pool_type avg, which no tower of timm has" in refusal(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"vision_cfg": {"width": 8}}}))
    assert "does not make sense (KeyError: 'patch_size'); pass --arch" in refusal(tmp_path)
    sizes.update(pool_type="tok", layers=10**9)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert "its vision_cfg give 'depth' a value that no model has" in refusal(tmp_path)


def test_a_configuration_of_open_clip_names_a_model_of_timm(tmp_path: Path):
    name = "vit_base_patch16_siglip_224"
    model = model_of(name, **VIT, img_size=224, num_classes=0)
    tensors = {f"visual.trunk.{key}": tensor for key, tensor in model.state_dict().items()}
    torch.save({**tensors, "logit_scale": torch.tensor(1.0)}, tmp_path / "open_clip_pytorch_model.bin")
    vision = {"timm_model_name": name, "timm_pool": "map", "image_size": 224}
    config = {"model_cfg": {"embed_dim": 32, "vision_cfg": vision}, "preprocess_cfg": {"mean": [0.5] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    loaded = load_model(tmp_path, model_kwargs=VIT)
    images = torch.randn(1, 3, 224, 224)
    assert torch.equal(loaded.model(images), model(images))
    assert (loaded.arch, loaded.warnings) == (name, ())


def test_a_classifier_on_the_tower_gives_logits(tmp_path: Path):
    model = model_of(PLAIN, **VIT, img_size=32, num_classes=5)
    assert load_model(saved(tmp_path / "m.pt", model.state_dict()), arch=PLAIN, model_kwargs=VIT).outputs == LOGITS


def test_openais_own_file_needs_quickgelu(tmp_path: Path, small: nn.Module):
    path = saved(tmp_path / "m.pt", {**tower(small.state_dict()), **OPENAIS})
    message = refusal(path, arch=PLAIN, model_kwargs=VIT)
    assert message.endswith(f"trained with QuickGELU, and {PLAIN} has GELU; pass --arch {QUICK}")
    loaded = load_model(path, arch=QUICK, model_kwargs=VIT)
    assert loaded.warnings == ()
    assert "as OpenAI stores it" in " ".join(loaded.notes)


@pytest.mark.parametrize(
    ("arch", "more", "warned"),
    [
        (PLAIN, {}, True),
        (f"{PLAIN}.laion2b", {}, False),
        (f"{PLAIN}.openai", {}, True),
        (PLAIN, {"act_layer": "gelu"}, False),
        (QUICK, {}, False),
    ],
)
def test_who_says_which_activation(tmp_path: Path, small: nn.Module, arch: str, more: dict[str, Any], warned: bool):
    path = saved(tmp_path / "m.pt", tower(small.state_dict()))
    loaded = load_model(path, arch=arch, model_kwargs={**VIT, **more})
    assert any(QUICK in warning for warning in loaded.warnings) == warned


def test_timms_own_weights_of_openai_are_built_with_gelu(tmp_path: Path, small: nn.Module):
    """As timm has them by that name, in its hub and by `timm:NAME`: near the original, and not it."""
    config = {"architecture": PLAIN, "model_args": {**VIT, "img_size": 32}, "pretrained_cfg": {"tag": "openai"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(small.state_dict(), tmp_path / "pytorch_model.bin")
    (told,) = load_model(tmp_path).warnings
    assert told.startswith(f"{PLAIN}.openai was trained with QuickGELU and is built with GELU: ")
    assert told.endswith(f"pass --arch {QUICK}")
    quick = load_model(tmp_path, model_kwargs={"act_layer": "quick_gelu"})
    assert not any("QuickGELU" in warning for warning in quick.warnings)


def resolved(name: str, more: dict[str, Tensor]) -> Architecture:
    tensors = {key: torch.empty(tensor.shape) for key, tensor in build_meta(name, {}).state_dict().items()}
    found = translated(Checkpoint(Path("m.pt"), {**tower(tensors), **more}, (), {}, None, None, {}), None)
    return resolve_architecture(found.checkpoint, names=found.names, among=found.models)


def test_only_a_file_of_openai_tells_the_activation():
    assert resolved("vit_base_patch32_clip_224", OPENAIS).name == "vit_base_patch32_clip_quickgelu_224"
    with pytest.raises(MptqError) as caught:
        resolved("vit_base_patch32_clip_224", {})
    assert "with one of vit_base_patch32_clip_224, vit_base_patch32_clip_quickgelu_224 (with quick" in str(caught.value)
