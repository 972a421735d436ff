"""Files of papers' own repositories: weights of timm's model under the names that those have."""

import argparse
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from tools.doors.kind import Exports, Kind
from tools.doors.small import ARCH, IMAGENET, VIT, State, logits_of, save, vit
from tools.random_weights import seeded

_ENCODER = {**VIT, "num_classes": 0}
_WINDOWS: dict[str, Any] = {
    "img_size": 64,
    "window_size": 4,
    "embed_dim": 16,
    "depths": (2, 1),
    "num_heads": (2, 4),
    "num_classes": 7,
}
_SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


def _made(arch: str, **arguments: Any) -> nn.Module:
    model: nn.Module = timm.create_model(arch, **arguments)
    return seeded(model)


def _options(arch: str, arguments: Mapping[str, Any], **input_: Any) -> dict[str, Any]:
    return {"arch": arch, "model_kwargs": dict(arguments), **input_}


def _encoder(model: nn.Module, given: str, options: dict[str, Any], **door: Any) -> Exports:
    return logits_of(model, given, name="embedding", options=options, **{**IMAGENET, **door})


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def _dino(folder: Path) -> Exports:
    """DINO's training: the teacher is the model, the student is not."""
    model = vit(num_classes=0)
    state = model.state_dict()
    head = {"head.mlp.0.weight": _noise(64, 32), "head.last_layer.weight_v": _noise(64, 64)}
    teacher = {**{f"backbone.{name}": value for name, value in state.items()}, **head}
    student = {f"module.{name}": 0.5 * value for name, value in teacher.items()}
    args = argparse.Namespace(arch="vit_small", patch_size=16, out_dim=65536)
    other = {"optimizer": {"state": {}}, "epoch": 100, "args": args, "dino_loss": {"center": torch.zeros(1, 64)}}
    save({"student": student, "teacher": teacher, **other}, folder / "checkpoint0100.pth")
    return _encoder(model, "checkpoint0100.pth", _options(ARCH, _ENCODER, **IMAGENET))


def _dinov2(folder: Path, *, registers: bool) -> Exports:
    """DINOv2's own files: a mask token, and a position for the class token even where there are registers."""
    arch = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    model = _made(arch, **_SMALL)
    state = dict(model.state_dict())
    if registers:
        state["register_tokens"] = state.pop("reg_token")
        position = 0.1 * _noise(1, 1, 32)
        state["pos_embed"] = torch.cat([position, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] - position
    save({**state, "mask_token": torch.zeros(1, 32)}, folder / "dinov2_vits14_pretrain.pth")
    return _encoder(model, "dinov2_vits14_pretrain.pth", _options(arch, _SMALL))


def _dinov2_training(folder: Path) -> Exports:
    """teacher_checkpoint.pth of DINOv2's training."""
    arch = "vit_small_patch14_dinov2"
    model = _made(arch, **_SMALL)
    state = {f"backbone.{name}": value for name, value in model.state_dict().items()}
    heads = {"backbone.mask_token": torch.zeros(1, 32), "dino_head.mlp.0.weight": _noise(64, 32)}
    save({"teacher": {**state, **heads}}, folder / "teacher_checkpoint.pth")
    return _encoder(model, "teacher_checkpoint.pth", _options(arch, _SMALL))


def _dinov3(folder: Path) -> Exports:
    """DINOv3's own files: biases of keys that a mask switches off."""
    arch = "vit_small_patch16_dinov3_qkvb"
    model = _made(arch, **_SMALL)
    save(dinov3_state(model), folder / "dinov3_vits16_pretrain.pth")
    return _encoder(model, "dinov3_vits16_pretrain.pth", _options(arch, _SMALL))


def dinov3_state(model: nn.Module) -> State:
    """Names and tensors of such a file."""
    names = (("reg_token", "storage_tokens"), ("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma"))
    state = {}
    for name, value in model.state_dict().items():
        if name.endswith("v_bias"):
            continue
        if name.endswith("q_bias"):
            values = model.state_dict()[name.replace("q_bias", "v_bias")]
            block = name.removesuffix("q_bias")
            state[f"{block}qkv.bias"] = torch.cat([value, _noise(32), values])  # of keys: masked
            state[f"{block}qkv.bias_mask"] = torch.cat([torch.ones(32), torch.zeros(32), torch.ones(32)])
            continue
        changed = name
        for ours, theirs in names:
            changed = changed.replace(ours, theirs)
        state[changed] = value
    return {**state, "mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}


def _mae(folder: Path, *, decoder: bool) -> Exports:
    """MAE's pre-training, with and without the decoder."""
    model = vit(num_classes=0)
    state = dict(model.state_dict())
    if decoder:
        state |= {"mask_token": torch.zeros(1, 1, 16), "decoder_pos_embed": _noise(1, 17, 16)}
        state |= {"decoder_embed.weight": _noise(16, 32), "decoder_embed.bias": _noise(16)}
        state |= {"decoder_blocks.0.norm1.weight": _noise(16), "decoder_blocks.0.attn.qkv.weight": _noise(48, 16)}
        state |= {"decoder_norm.weight": _noise(16), "decoder_pred.weight": _noise(192, 16)}
    save({"model": state}, folder / "mae_pretrain_vit_base.pth")
    return _encoder(model, "mae_pretrain_vit_base.pth", _options(ARCH, _ENCODER, **IMAGENET))


def _mae_finetuned(folder: Path) -> Exports:
    """MAE's fine-tuning: means of the patches, fc_norm."""
    kwargs = {**VIT, "global_pool": "avg"}
    model = _made(ARCH, **kwargs)
    assert any(name.startswith("fc_norm") for name in model.state_dict())
    args = argparse.Namespace(model="vit_base_patch16", global_pool=True)
    save({"model": model.state_dict(), "optimizer": {}, "epoch": 99, "args": args}, folder / "checkpoint-99.pth")
    return logits_of(model, "checkpoint-99.pth", options=_options(ARCH, kwargs, **IMAGENET), **IMAGENET)


def _swin_names(model: nn.Module) -> State:
    """Names of Swin's own repository: stages end with what timm's begin with, buffers are kept."""
    state = {**model.state_dict(), **dict(model.named_buffers())}
    moved = {re.sub(r"layers\.(\d+)\.downsample", _earlier, name): value for name, value in state.items()}
    return {name.replace("head.fc.", "head."): value for name, value in moved.items()}


def _earlier(found: re.Match[str]) -> str:
    return f"layers.{int(found[1]) - 1}.downsample"


def _swin(folder: Path, *, arch: str, name: str) -> Exports:
    model = _made(arch, **_WINDOWS)
    state = {key: value for key, value in _swin_names(model).items() if not key.endswith("k_bias")}
    save({"model": state}, folder / name)
    return logits_of(model, name, size=(3, 64, 64), options=_options(arch, _WINDOWS), **IMAGENET)


def _beit(folder: Path) -> Exports:
    """BEiT's fine-tuned files: indices of relative positions among the weights."""
    arguments = {**_SMALL, "num_classes": 7}
    model = _made("beit_base_patch16_224", **arguments)
    index = {name: value for name, value in model.named_buffers() if name.endswith("relative_position_index")}
    save({"model": {**model.state_dict(), **index}, "epoch": 30}, folder / "beit_base_patch16_224_ft22k.pth")
    options = _options("beit_base_patch16_224", arguments)
    return logits_of(model, "beit_base_patch16_224_ft22k.pth", options=options)


def _mmpretrain(folder: Path) -> Exports:
    """The names of mmpretrain's VisionTransformer."""
    model = vit()
    names = (
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^blocks\.(\d+)\.", r"layers.\1."),
        (r"\.norm([12])\.", r".ln\1."),
        (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
        (r"\.mlp\.fc2\.", ".ffn.layers.1."),
        (r"^norm\.", "ln1."),
    )
    save(_mm_file(_renamed(model.state_dict(), names), "head.layers.head."), folder / "vit_epoch_100.pth")
    return logits_of(model, "vit_epoch_100.pth", options=_options(ARCH, VIT, **IMAGENET), **IMAGENET)


def _mmpretrain_swin(folder: Path) -> Exports:
    """The names of mmpretrain's SwinTransformer, whose merged patches have their channels in another order."""
    arch, arguments = "swin_tiny_patch4_window7_224", {**_WINDOWS, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 4)}
    model = _made(arch, **arguments)
    names = (
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^layers\.", "stages."),
        (r"\.attn\.", ".attn.w_msa."),
        (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
        (r"\.mlp\.fc2\.", ".ffn.layers.1."),
        (r"^norm\.", "norm3."),
    )
    state = _swin_names(model)
    state = {name: value for name, value in state.items() if "attn_mask" not in name}
    for name, value in state.items():
        if ".downsample." in name:
            state[name] = _as_unfold(value)
    save(_mm_file(_renamed(state, names), "head.fc."), folder / "swin_epoch_300.pth")
    return logits_of(model, "swin_epoch_300.pth", size=(3, 64, 64), options=_options(arch, arguments), **IMAGENET)


def _as_unfold(value: Tensor) -> Tensor:
    """Last dimension from Swin's order (four patches, channels) to `nn.Unfold`'s (channels, rows, columns)."""
    patches = value.reshape(*value.shape[:-1], 4, -1)[..., [0, 2, 1, 3], :]  # Swin takes rows first
    return patches.transpose(-1, -2).reshape(value.shape)


def _renamed(state: State, names: tuple[tuple[str, str], ...]) -> State:
    found = {}
    for name, value in state.items():
        changed = name
        for pattern, replacement in names:
            changed = re.sub(pattern, replacement, changed)
        found[changed] = value
    return found


def _mm_file(state: State, head: str) -> dict[str, Any]:
    named = {
        f"{head}{name.removeprefix('head.')}" if name.startswith("head.") else f"backbone.{name}": value
        for name, value in state.items()
    }
    return {"meta": {"epoch": 100, "cfg": "model = dict()", "dataset_meta": {"classes": ()}}, "state_dict": named}


_SAM: dict[str, Any] = {**_SMALL, "window_size": 4, "global_attn_indexes": (1,), "use_rel_pos": True, "num_classes": 0}


def _sam(folder: Path) -> Exports:
    """Segment Anything's own file: encoder, prompts, decoder."""
    arguments = {**_SAM, "neck_chans": 16, "global_pool": ""}
    model = _made("samvit_base_patch16", **arguments)
    state = {f"image_encoder.{name.replace('mlp.fc', 'mlp.lin')}": v for name, v in model.state_dict().items()}
    decoder = {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": _noise(2, 8)}
    decoder["mask_decoder.iou_token.weight"] = _noise(1, 16)
    save({**state, **decoder}, folder / "sam_vit_b_01ec64.pth")
    options = _options("samvit_base_patch16", arguments)
    return logits_of(model, "sam_vit_b_01ec64.pth", name="embedding", options=options, **_pixels(model))


def _vitdet(folder: Path) -> Exports:
    """ViTDet's backbone in detectron2's names, its pyramid and heads beside it; detectron2 itself is on no index."""
    arguments = {**_SAM, "neck_chans": 0, "global_pool": ""}
    model: Any = _made("samvit_base_patch16", **arguments)
    model.neck = nn.Identity()
    state = {f"backbone.net.{name}": value for name, value in model.state_dict().items()}
    state |= {"backbone.simfp_2.0.weight": _noise(32, 16, 2, 2), "roi_heads.box_head.fc1.weight": _noise(8, 8)}
    save({"model": state, "iteration": 1000, "__author__": "someone"}, folder / "model_final.pth")
    return logits_of(model, "model_final.pth", name="embedding", **_pixels(model))


def _pixels(model: Any) -> dict[str, Any]:
    config = model.pretrained_cfg
    return {"mean": tuple(config["mean"]), "std": tuple(config["std"])}


_TIMM = ("timm", "torch")

KINDS = (
    Kind("DINO: checkpoint of its training (teacher)", _TIMM, _dino),
    Kind("DINOv2: its own file", _TIMM, partial(_dinov2, registers=False)),
    Kind("DINOv2 with registers: its own file", _TIMM, partial(_dinov2, registers=True)),
    Kind("DINOv2: teacher_checkpoint.pth", _TIMM, _dinov2_training),
    Kind("DINOv3: its own file", _TIMM, _dinov3),
    Kind("MAE: encoder", _TIMM, partial(_mae, decoder=False)),
    Kind("MAE: encoder and decoder", _TIMM, partial(_mae, decoder=True)),
    Kind("MAE: fine-tuned", _TIMM, _mae_finetuned),
    Kind("Swin: its own file", _TIMM, partial(_swin, arch="swin_tiny_patch4_window7_224", name="swin_tiny.pth")),
    Kind("Swin V2: its own file", _TIMM, partial(_swin, arch="swinv2_tiny_window8_256", name="swinv2_tiny.pth")),
    Kind("BEiT: its own file", _TIMM, _beit),
    Kind("mmpretrain: ViT", _TIMM, _mmpretrain),
    Kind("mmpretrain: Swin", _TIMM, _mmpretrain_swin),
    Kind("SAM: its own file", _TIMM, _sam),
    Kind("ViTDet: backbone under detectron2's names", _TIMM, _vitdet),
)
