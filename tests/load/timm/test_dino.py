"""Files of DINO, DINOv2, DINOv3 and MAE: what their training leaves in them, and what they name otherwise."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.loaders import load_model
from mptq_export.load.timm.architecture import Architecture, resolve_architecture
from mptq_export.load.timm.fit import build_meta
from mptq_export.load.timm.layouts.table import translated
from tests.load.timm.helpers import IMAGES, VIT, model_of, refusal, renamed, saved

REGISTERS = "vit_small_patch14_reg4_dinov2"


def official(tensors: dict[str, Tensor], position: Tensor) -> dict[str, Tensor]:
    """A DINOv2 with registers as its authors store it: the class token has a position of its own."""
    found = renamed(tensors, ("reg_token", "register_tokens"))
    found["cls_token"] = found["cls_token"] - position
    found["pos_embed"] = torch.cat([position, found["pos_embed"]], 1)
    return {**found, "mask_token": torch.zeros(1, position.shape[-1])}


@pytest.mark.parametrize("chunks", [False, True])
def test_dinov2_with_registers(tmp_path: Path, chunks: bool):
    model = model_of(REGISTERS, **VIT, img_size=32)
    tensors = official(model.state_dict(), torch.randn(1, 1, 32))
    if chunks:
        tensors = renamed(tensors, ("blocks.0.", "blocks.0.0."), ("blocks.1.", "blocks.1.1."))
    loaded = load_model(saved(tmp_path / "m.pth", tensors), arch=REGISTERS, model_kwargs=VIT)
    assert torch.allclose(loaded.model(IMAGES), model(IMAGES), atol=1e-5)
    stored = tensors["cls_token"] + tensors["pos_embed"][:, :1]
    assert torch.equal(loaded.model.cls_token, stored)  # the very sum that the official model forms
    assert loaded.preprocessing.input_size == (3, 32, 32)
    notes = " ".join(loaded.notes)
    assert "cls_token is the sum of cls_token and a part of pos_embed" in notes
    assert "mask_token left out: " in notes
    assert loaded.warnings == ()


def test_dinov2_with_registers_computes_what_transformers_computes(tmp_path: Path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=4)
    theirs = transformers.Dinov2WithRegistersModel(config).eval().requires_grad_(False)
    for parameter in theirs.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    pairs = (
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.", ""),
        ("encoder.layer.", "blocks."),
        ("attention.attention.query", "attention.q_proj"),  # until transformers 5
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"),
        ("attention.o_proj", "attn.proj"),
        ("attention.", "attn."),
        ("layer_scale1.lambda1", "ls1.gamma"),
        ("layer_scale2.lambda1", "ls2.gamma"),
        ("layernorm.", "norm."),
    )
    tensors = renamed(theirs.state_dict(), *pairs)
    for i in (0, 1):
        for kind in ("weight", "bias"):
            parts = [tensors.pop(f"blocks.{i}.attn.{part}_proj.{kind}") for part in "qkv"]
            tensors[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    loaded = load_model(saved(tmp_path / "m.pth", tensors), arch=REGISTERS, model_kwargs=VIT)
    assert (loaded.model(IMAGES) - theirs(IMAGES).pooler_output).abs().max() < 1e-5


def test_the_large_swiglu_of_dinov2(tmp_path: Path):
    model = model_of("vit_giant_patch14_reg4_dinov2", **VIT, img_size=32)
    tensors = renamed(official(model.state_dict(), torch.randn(1, 1, 32)), ("fc1", "w12"), ("fc2", "w3"))
    loaded = load_model(saved(tmp_path / "m.pth", tensors), arch="vit_giant_patch14_reg4_dinov2", model_kwargs=VIT)
    assert torch.allclose(loaded.model(IMAGES), model(IMAGES), atol=1e-5)


def test_registers_without_a_position_for_the_class_token_are_refused(tmp_path: Path):
    tensors = official(model_of(REGISTERS, **VIT, img_size=32).state_dict(), torch.randn(1, 1, 32))
    tensors["pos_embed"] = tensors["pos_embed"][0]
    assert "cls_token does not come through" in refusal(saved(tmp_path / "m.pth", tensors))


def resolved(tensors: dict[str, Tensor], **kwargs: Any) -> Architecture:
    found = translated(Checkpoint(Path("m.pth"), tensors, (), {}, None, None, {}), None)
    return resolve_architecture(found.checkpoint, names=found.names, among=found.models, **kwargs)


def unfilled(name: str, **kwargs: Any) -> dict[str, Tensor]:
    """Tensors of the right shapes whose memory is never touched."""
    return {name: torch.empty(tensor.shape) for name, tensor in build_meta(name, kwargs).state_dict().items()}


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", REGISTERS])
def test_dinov2_is_recognised(name: str):
    tensors = unfilled(name)
    beside = official(tensors, torch.empty(1, 1, 384)) if name == REGISTERS else {"mask_token": torch.zeros(1, 384)}
    found = resolved({**{key: tensor for key, tensor in tensors.items() if key != "reg_token"}, **beside})
    assert (found.name, found.source) == (name, "inferred from the tensors")


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_dinov3_is_recognised(bias: float):
    """The published models of this size have a bias of zeros, which timm has a name without."""
    name = "vit_small_patch16_dinov3"
    pairs = (("reg_token", "storage_tokens"), ("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma"))
    tensors = renamed({key: torch.zeros(tensor.shape) for key, tensor in unfilled(name).items()}, *pairs)
    mask = torch.ones(1152)
    mask[384:768] = 0
    for i in range(12):
        tensors[f"blocks.{i}.attn.qkv.bias"] = torch.full((1152,), bias)
        tensors[f"blocks.{i}.attn.qkv.bias_mask"] = mask
    found = resolved({**tensors, "mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16)})
    assert found.name == name + ("_qkvb" if bias else "")


DINO_HEAD = {
    "head.mlp.0.weight": torch.ones(8, 32),
    "head.mlp.0.bias": torch.ones(8),
    "head.last_layer.weight_g": torch.ones(16, 1),
    "head.last_layer.weight_v": torch.ones(16, 8),
}


def test_dino_leaves_its_projection(tmp_path: Path):
    model = model_of("vit_small_patch16_224", **VIT, img_size=32, num_classes=0)
    path = saved(tmp_path / "m.pth", {**model.state_dict(), **DINO_HEAD})
    loaded = load_model(path, arch="vit_small_patch16_224.dino", model_kwargs=VIT)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert "the projection of DINO's training" in " ".join(loaded.notes)
    assert loaded.warnings == ()
    assert loaded.preprocessing.mean == (0.485, 0.456, 0.406)


def test_the_teacher_of_a_training(tmp_path: Path):
    """Beside a prefix of its own, the projection is left by whoever takes that off; what it tells stays known."""
    model = model_of("vit_small_patch16_224", **VIT, img_size=32, num_classes=0)
    teacher = {**{f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}, **DINO_HEAD}
    student = {f"module.{name}": torch.zeros_like(tensor) for name, tensor in teacher.items()}
    path = saved(tmp_path / "m.pth", {"student": student, "teacher": teacher, "epoch": 3})
    loaded = load_model(path, arch="vit_small_patch16_224", model_kwargs=VIT)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert "num_classes 0 read from the weights" in loaded.notes
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("vit_base_patch16_224.mae", {"decoder_embed.weight": torch.ones(2, 2), "mask_token": torch.ones(1, 1, 512)}),
        ("vit_small_patch16_224.dino", DINO_HEAD),
    ],
)
def test_a_pretraining_tells_its_weights(name: str, more: dict[str, Tensor]):
    assert resolved({**unfilled(name), **more}).name == name


@pytest.mark.parametrize("decoder", [False, True])
def test_the_encoder_of_mae(tmp_path: Path, decoder: bool):
    name = "vit_base_patch16_224"
    model = model_of(name, **VIT, img_size=32, num_classes=0)
    more = {"decoder_embed.weight": torch.ones(16, 32), "decoder_pos_embed": torch.ones(1, 17, 16)}
    more |= {"decoder_blocks.0.norm1.weight": torch.ones(16), "mask_token": torch.ones(1, 1, 16)}
    path = saved(tmp_path / "m.pth", {"model": {**model.state_dict(), **(more if decoder else {})}})
    loaded = load_model(path, arch=name, model_kwargs=VIT)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert "num_classes 0 read from the weights" in loaded.notes
    assert any("decoder" in note for note in loaded.notes) == decoder
    (warning,) = loaded.warnings
    assert "the class token is given, as the architecture has it; for the mean of the patches pass" in warning
    said = {**VIT, "global_pool": "avg", "fc_norm": False}
    mean = load_model(path, arch=name, model_kwargs=said)
    assert mean.warnings == ()
    assert torch.equal(mean.model(IMAGES), model_of(name, **said, img_size=32, num_classes=0)(IMAGES))


def test_a_tag_does_not_say_how_mae_is_pooled(tmp_path: Path):
    model = model_of("vit_base_patch16_224", **VIT, img_size=32, num_classes=0)
    path = saved(tmp_path / "m.pth", {**model.state_dict(), "decoder_pred.weight": torch.ones(2, 2)})
    assert "class token is given" in load_model(path, arch="vit_base_patch16_224.mae", model_kwargs=VIT).warnings[0]


def test_a_norm_behind_the_mean_tells_the_pooling(tmp_path: Path):
    """As MAE is fine-tuned: without it, timm expects a norm of every token."""
    model = model_of("vit_base_patch16_224", **VIT, img_size=32, num_classes=5, global_pool="avg")
    path = saved(tmp_path / "m.pth", {"model": model.state_dict()})
    loaded = load_model(path, arch="vit_base_patch16_224", model_kwargs=VIT)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert "global_pool avg read from the weights" in loaded.notes


def test_a_norm_of_all_tokens_is_told(tmp_path: Path):
    """BEiT is pretrained with one, and timm pools it first."""
    beit = {**VIT, "img_size": 32, "num_classes": 0}
    model = model_of("beit_base_patch16_224", **beit, global_pool="token")
    more = {"mask_token": torch.ones(1, 1, 32), "lm_head.weight": torch.ones(8, 32)}
    path = saved(tmp_path / "m.pth", {"model": {**model.state_dict(), **more}})
    message = refusal(path, arch="beit_base_patch16_224", model_kwargs=beit)
    assert '--model-kwargs such as {"global_pool": "token"}' in message
    loaded = load_model(path, arch="beit_base_patch16_224", model_kwargs={**beit, "global_pool": "token"})
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))


def test_a_head_of_another_name_is_no_missing_head(tmp_path: Path):
    model = model_of("vit_base_patch16_224", **VIT, img_size=32, num_classes=5)
    path = saved(tmp_path / "m.pth", renamed(model.state_dict(), ("head.", "head.fc.")))
    message = refusal(path, arch="vit_base_patch16_224", model_kwargs=VIT)
    assert "missing head.bias, head.weight" in message and "unexpected head.fc.bias" in message
