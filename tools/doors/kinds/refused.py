"""What has to be refused: in one line, before anything is calibrated, with the way out."""

import importlib
import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from tools.doors.kind import Kind, Refused
from tools.doors.kinds.huggingface import small, write_processor
from tools.doors.kinds.modules import made
from tools.doors.kinds.papers import dinov3_state
from tools.doors.small import save, told, vit
from tools.random_weights import seeded

_LINE: dict[str, Any] = {"img_size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


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
    return Refused("model.onnx", (r"ONNX", r"checkpoint|state_dict|PyTorch"))


def _arrays(folder: Path) -> Refused:
    np.savez(folder / "weights.npz", kernel=np.zeros((3, 3)))
    return Refused("weights.npz", (r"\.npz|NumPy", r"\.pt|\.pth|safetensors|PyTorch|state_dict"))


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
    return Refused("step_10", (r"(?i)distributed", r"dcp_to_torch_save|torch\.save|state_dict"))


def _hub(folder: Path) -> Refused:
    """A name of a hub that cannot be reached, or has no such model."""
    assert not list(folder.iterdir())
    return Refused("hf-hub:mptq-export/there-is-no-such-model", (r"(?i)hub",))


def _hf(folder: Path, *, build: Callable[[Path], None], says: tuple[str, ...], **options: Any) -> Refused:
    build(folder / "folder")
    return Refused("folder", says, options)


_TEXT: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def _bert(folder: Path) -> None:
    seeded(transformers.BertModel(transformers.BertConfig(vocab_size=100, **_TEXT))).save_pretrained(folder)


def _audio(folder: Path) -> None:
    config = transformers.ASTConfig(**_TEXT, max_length=32, num_mel_bins=16)
    seeded(transformers.ASTForAudioClassification(config)).save_pretrained(folder)


def _video(folder: Path) -> None:
    config = transformers.VideoMAEConfig(**_TEXT, image_size=32, patch_size=8, num_frames=2, num_labels=7)
    seeded(transformers.VideoMAEForVideoClassification(config)).save_pretrained(folder)
    write_processor(folder, "ViTImageProcessor")


def _naflex(folder: Path) -> None:
    """SigLIP 2 of any shape: it takes patches, their mask and their shapes."""
    config = transformers.Siglip2VisionConfig(**_TEXT, num_patches=16, patch_size=8)
    seeded(transformers.Siglip2VisionModel(config)).save_pretrained(folder)
    transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)


def _classifier(folder: Path) -> None:
    small("ViTForImageClassification").save_pretrained(folder)
    write_processor(folder)


def _pads(folder: Path) -> None:
    small("YolosForObjectDetection").save_pretrained(folder)
    transformers.YolosImageProcessor().save_pretrained(folder)


def _tiles(folder: Path) -> None:
    _classifier(folder)
    _change(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "LlavaNextImageProcessor",
            "do_pad": True,
            "image_grid_pinpoints": [[32, 64], [64, 32]],
            "crop_size": {"height": 32, "width": 32},
        },
    )


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    _classifier(folder)
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def _drop(state: dict[str, torch.Tensor]) -> None:
    del state["vit.layernorm.weight"], state["classifier.weight"]


def _add(state: dict[str, torch.Tensor]) -> None:
    state["vit.layers.7.mlp.fc1.weight"] = torch.zeros(64, 32)


def _own_code(folder: Path) -> None:
    _classifier(folder)
    (folder / "modeling_mine.py").write_text("raise SystemExit('this ran')\n", encoding="utf-8")
    auto = {"AutoConfig": "modeling_mine.MyConfig", "AutoModelForImageClassification": "modeling_mine.MyModel"}
    _change(folder / "config.json", {"auto_map": auto, "model_type": "my_vit", "architectures": ["MyModel"]})


def _pickled(folder: Path) -> None:
    _classifier(folder)
    save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _quantized(folder: Path) -> None:
    _classifier(folder)
    _change(folder / "config.json", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}})


def _tensorflow(folder: Path) -> None:
    _classifier(folder)
    (folder / "model.safetensors").unlink()
    (folder / "tf_model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))


def _change(path: Path, entries: Mapping[str, Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **entries}), encoding="utf-8")


#: Modules that no file can hold, a function each; the line that stops a capture is one of these.
_SOURCE = """import torch
from torch import nn


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 7, 8, 8)

    def forward(self, x, mask):
        return (self.proj(x) * mask).mean((2, 3))


class Asks(TwoInputs):
    def forward(self, x):
        if x.mean().item() > 0:
            return self.proj(x).mean((2, 3))
        return self.proj(-x).mean((2, 3))


class Counts(TwoInputs):
    def forward(self, x):
        return self.proj(x).mean((2, 3)) / len(x)


class Mixes(TwoInputs):
    def forward(self, x):
        logits = self.proj(x).mean((2, 3))
        return logits - logits.mean(0, keepdim=True)


class Draws(TwoInputs):
    def forward(self, x):
        return self.proj(x + torch.rand_like(x)).mean((2, 3))


class Lists(TwoInputs):
    def forward(self, x):
        keep = self.proj(x).mean((0, 2, 3)) > 0
        return self.proj(x)[:, keep].mean((2, 3))


two_inputs, asks, counts, mixes, draws, lists = TwoInputs, Asks, Counts, Mixes, Draws, Lists


def no_module():
    return 3
"""


def _module(folder: Path, *, function: str, says: tuple[str, ...]) -> Refused:
    (folder / "mine").mkdir()
    (folder / "mine" / "__init__.py").write_text(_SOURCE, encoding="utf-8")
    return Refused(f"mine:{function}", says, _LINE)


def _program_of_one_batch(folder: Path) -> Refused:
    """A program whose batch is a number."""
    model = made(folder, "classifier")
    torch.export.save(torch.export.export(model, (torch.zeros(2, 3, 32, 32),)), folder / "fixed.pt2")
    options = {"trust": True, "mean": _LINE["mean"], "std": _LINE["std"]}
    return Refused("fixed.pt2", (r"batch", r"dynamic_shapes|Dim"), options)


def _program_untrusted(folder: Path) -> Refused:
    """A program's file may hold code."""
    refused = _program_of_one_batch(folder)
    return Refused(refused.given, (r"--trust", r"torch\.export"))


_GGUF = b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(64)
_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
_H5 = b"\x89HDF\r\n\x1a\n" + bytes(64)
_TORCH, _HF = ("torch", "timm"), ("transformers", "torch")
_WAY = (r"\.pt|\.pth|safetensors|PyTorch|state_dict",)


def _refused_state(name: str, state: Callable[[], Any], *says: str, say: bool = True) -> Kind:
    return Kind(name, _TORCH, partial(_state, state=state, says=says, say=told() if say else {}))


def _refused_folder(name: str, build: Callable[[Path], None], *says: str) -> Kind:
    return Kind(f"HF folder: {name}", _HF, partial(_hf, build=build, says=says))


def _refused_module(name: str, function: str, *says: str) -> Kind:
    return Kind(f"module: {name}", ("torch",), partial(_module, function=function, says=says))


KINDS = (
    Kind("TorchScript, traced", ("torch",), partial(_torchscript, script=False)),
    Kind("TorchScript, scripted", ("torch",), partial(_torchscript, script=True)),
    Kind("module, whole, without --trust", _TORCH, _whole_module),
    Kind("ONNX file", ("onnx",), _onnx),
    Kind("Keras file", ("torch",), partial(_bytes, name="model.h5", content=_H5, says=_WAY)),
    Kind("GGUF file", ("torch",), partial(_bytes, name="model.gguf", content=_GGUF, says=_WAY)),
    Kind("NumPy archive", ("numpy",), _arrays),
    Kind("pointer of Git LFS", ("torch",), partial(_bytes, name="model.pt", content=_LFS, says=(r"(?i)lfs",))),
    Kind("empty file", ("torch",), partial(_bytes, name="model.pt", content=b"", says=(r"empty",))),
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
    _refused_folder("text (BERT)", _bert, r"(?i)bert", r"(?i)image|vision|pixel"),
    _refused_folder("audio (AST)", _audio, r"(?i)audio|AST", r"(?i)image|vision|pixel"),
    _refused_folder("video (VideoMAE)", _video, r"(?i)video"),
    _refused_folder("SigLIP 2 of any shape", _naflex, r"(?i)siglip2|pixel_attention_mask|spatial_shapes|patches"),
    _refused_folder("processor that pads", _pads, r"(?i)pad"),
    _refused_folder("processor that tiles", _tiles, r"(?i)tile|pad|LlavaNext"),
    _refused_folder(
        "weights missing",
        partial(_weights, change=_drop),
        r"(?i)missing|lacks",
        r"classifier\.weight|layernorm\.weight",
    ),
    _refused_folder("weights left over", partial(_weights, change=_add), r"layers\.7"),
    _refused_folder("code of its own", _own_code, r"(?i)my_vit|auto_map|MyModel|code"),
    _refused_folder("pytorch_model.bin without --trust", _pickled, r"--trust", r"safetensors"),
    _refused_folder("quantized by bitsandbytes", _quantized, r"(?i)quanti"),
    _refused_folder("TensorFlow's weights", _tensorflow, r"safetensors"),
    _refused_module("two inputs", "two_inputs", r"mask"),
    _refused_module("asks for a value (.item())", "asks", r"\.item\(\)", r"mine.__init__\.py|line"),
    _refused_module("counts the batch (len(x))", "counts", r"(?i)batch|len\(x\)"),
    _refused_module("mixes images", "mixes", r"(?i)batch|other images|mixes"),
    _refused_module("draws random numbers", "draws", r"(?i)rand"),
    _refused_module("shapes that depend on values", "lists", r"sizes that depend on the images|keep"),
    _refused_module("no module", "no_module", r"(?i)nn\.Module|module"),
    _refused_module("no such function", "nothing", r"nothing"),
    Kind("ExportedProgram of one batch", ("torch",), _program_of_one_batch),
    Kind("ExportedProgram without --trust", ("torch",), _program_untrusted),
)
