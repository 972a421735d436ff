"""What has to be refused: in one line, before anything is calibrated, with the way out."""

import importlib
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from tools.doors.kind import Kind, Refused
from tools.doors.kinds.papers import dinov3_state
from tools.doors.small import save, told, vit
from tools.random_weights import seeded


def _torchscript(folder: Path, *, script: bool) -> Refused:
    """OpenAI's CLIP files are such archives too."""
    model = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Flatten(), nn.Linear(128, 7)).eval()
    jit: Any = torch.jit
    jit.save(jit.script(model) if script else jit.trace(model, torch.zeros(2, 3, 32, 32)), folder / "model.pt")
    return Refused("model.pt", ("TorchScript", "state_dict"))


def _whole_module(folder: Path) -> Refused:
    save(vit(), folder / "whole.pth")
    return Refused("whole.pth", (r"run code", r"--trust", "state_dict"))


def _bytes(folder: Path, *, name: str, content: bytes, says: tuple[str, ...]) -> Refused:
    (folder / name).write_bytes(content)
    return Refused(name, says)


def _truncated(folder: Path) -> Refused:
    save(vit().state_dict(), folder / "vit.pth")
    whole = (folder / "vit.pth").read_bytes()
    (folder / "vit.pth").write_bytes(whole[: len(whole) // 2])
    return Refused("vit.pth", (r"truncated|corrupt|incomplete",), told())


def _truncated_safetensors(folder: Path) -> Refused:
    save_file(vit().state_dict(), folder / "vit.safetensors")
    whole = (folder / "vit.safetensors").read_bytes()
    (folder / "vit.safetensors").write_bytes(whole[: len(whole) // 2])
    return Refused("vit.safetensors", (r"truncated|corrupt|incomplete|cannot be read",), told())


def _onnx(folder: Path) -> Refused:
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    onnx.save(model, folder / "model.onnx")
    return Refused("model.onnx", (r"ONNX|torch\.save", r"checkpoint"))


def _arrays(folder: Path) -> Refused:
    np.savez(folder / "weights.npz", kernel=np.zeros((3, 3)))
    return Refused("weights.npz", (r"\.npz|NumPy", r"\.pt|\.pth|safetensors|PyTorch|state_dict|--arch"))


def _state(folder: Path, *, state: Callable[[], Any], says: tuple[str, ...], say: Mapping[str, Any]) -> Refused:
    save(state(), folder / "model.pth")
    return Refused("model.pth", says, say)


def _resnet() -> Any:
    return timm.create_model("resnet10t", num_classes=7).state_dict()


def _optimizer() -> Any:
    model = nn.Linear(4, 4)
    return {"optimizer": torch.optim.AdamW(model.parameters()).state_dict(), "epoch": 3}


def _left_over() -> Any:
    return {**vit().state_dict(), "blocks.2.attn.qkv.weight": torch.zeros(96, 32)}


def _missing() -> Any:
    return {name: value for name, value in vit().state_dict().items() if "blocks.1.mlp" not in name}


def _not_finite() -> Any:
    state = vit().state_dict()
    state["blocks.0.mlp.fc1.weight"][0, 0] = float("nan")
    return state


def _integers() -> Any:
    quantization: Any = torch.ao.quantization
    return quantization.quantize_dynamic(vit(), {nn.Linear}, torch.qint8).state_dict()


def _lora_alone() -> Any:
    return {
        "blocks.0.attn.qkv.lora_A.weight": torch.zeros(4, 32),
        "blocks.0.attn.qkv.lora_B.weight": torch.zeros(96, 4),
    }


def _dropped_bias(folder: Path) -> Refused:
    """DINOv3 with biases, read as the architecture that has none: timm's filter would drop them without a word."""
    arguments: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = seeded(timm.create_model("vit_small_patch16_dinov3_qkvb", **arguments))
    save(dinov3_state(model), folder / "dinov3.pth")
    options = {"arch": "vit_small_patch16_dinov3", "model_kwargs": arguments}
    return Refused("dinov3.pth", (r"bias",), options)


def _distributed(folder: Path) -> Refused:
    """A folder of `torch.distributed.checkpoint`."""
    distributed: Any = importlib.import_module("torch.distributed.checkpoint")
    distributed.save({"model": vit().state_dict()}, checkpoint_id=folder / "step_10")
    return Refused("step_10", (r"(?i)distributed", r"dcp_to_torch|torch\.save|state_dict"))


def _hub(folder: Path) -> Refused:
    """A name of a hub that cannot be reached, or has no such model."""
    assert not list(folder.iterdir())
    return Refused("hf-hub:mptq-export/there-is-no-such-model", (r"(?i)hub",))


_GGUF = b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(64)
_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
_H5 = b"\x89HDF\r\n\x1a\n" + bytes(64)
_TORCH = ("torch", "timm")


def _refused_state(name: str, state: Callable[[], Any], *says: str, say: bool = True) -> Kind:
    return Kind(name, _TORCH, partial(_state, state=state, says=says, say=told() if say else {}))


KINDS = (
    Kind("TorchScript, traced", ("torch",), partial(_torchscript, script=False)),
    Kind("TorchScript, scripted", ("torch",), partial(_torchscript, script=True)),
    Kind("module, whole, without --trust", _TORCH, _whole_module),
    Kind("ONNX file", ("onnx",), _onnx),
    Kind("Keras file", ("torch",), partial(_bytes, name="model.h5", content=_H5, says=("Keras", "timm"))),
    Kind("GGUF file", ("torch",), partial(_bytes, name="model.gguf", content=_GGUF, says=("GGUF", "float checkpoint"))),
    Kind("NumPy archive", ("numpy",), _arrays),
    Kind("pointer of Git LFS", ("torch",), partial(_bytes, name="model.pt", content=_LFS, says=(r"(?i)lfs",))),
    Kind("empty file", ("torch",), partial(_bytes, name="model.pt", content=b"", says=(r"empty|get the file again",))),
    Kind("half of a file", _TORCH, _truncated),
    Kind("half of a safetensors file", ("safetensors", "timm"), _truncated_safetensors),
    _refused_state("state_dict of a ResNet", _resnet, r"--arch|architecture", say=False),
    _refused_state("optimizer alone", _optimizer, r"state.?dict"),
    _refused_state("weights left over", _left_over, r"blocks\.2"),
    _refused_state("weights missing", _missing, r"blocks\.1\.mlp"),
    _refused_state("weights that are not finite", _not_finite, r"(?i)nan|finite"),
    _refused_state("integers of torch.ao", _integers, r"(?i)quanti|integer|float"),
    _refused_state("LoRA matrices alone", _lora_alone, r"(?i)lora|missing"),
    Kind("DINOv3 with biases as the architecture without", _TORCH, _dropped_bias),
    Kind("torch.distributed.checkpoint folder", ("torch",), _distributed),
    Kind("hub that is out of reach", ("timm",), _hub),
)
