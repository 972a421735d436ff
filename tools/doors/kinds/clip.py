"""CLIP and SigLIP by OpenCLIP and by OpenAI: the vision tower goes into the file."""

from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from open_clip.model import CLIP, convert_to_custom_text_state_dict
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file
from torch import Tensor

from tools.doors.kind import Exports, Kind
from tools.doors.small import logits_of, save
from tools.random_weights import seeded

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CLIP: dict[str, Any] = {"mean": _MEAN, "std": _STD}
_VISION = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 8, "image_size": 32}
_TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
_TIMM = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2, "num_classes": 16}
_OPTIONS: dict[str, Any] = {"arch": "vit_base_patch16_clip_224", "model_kwargs": _TIMM}


def _clip(**changed: Any) -> Any:
    return seeded(CLIP(16, vision_cfg=dict(_VISION), text_cfg=dict(_TEXT), **changed))


def _tower(model: Any, given: str, **door: Any) -> Exports:
    """What `encode_image` gives."""

    def outputs(x: Tensor) -> dict[str, Tensor]:
        return {"embedding": model.encode_image(x)}

    return Exports(given, outputs, **{**_CLIP, **door})


def _state(folder: Path) -> Exports:
    model = _clip()
    save(model.state_dict(), folder / "clip.pt")
    return _tower(model, "clip.pt", options=_OPTIONS)


def _training(folder: Path) -> Exports:
    """`open_clip_train`: distributed, with the states of its optimizer and scaler."""
    model = _clip()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    save({"epoch": 32, "name": "ViT-B-32", "state_dict": state, "optimizer": {}, "scaler": {}}, folder / "epoch_32.pt")
    return _tower(model, "epoch_32.pt", options=_OPTIONS)


def _custom_text(folder: Path) -> Exports:
    """The names of models with a text tower of its own (`text.`)."""
    model = _clip()
    save(convert_to_custom_text_state_dict(model.state_dict()), folder / "open_clip_pytorch_model.bin")
    return _tower(model, "open_clip_pytorch_model.bin", options=_OPTIONS)


def _hub_folder(folder: Path, *, given: str, options: dict[str, Any] | None = None) -> Exports:
    """What `open_clip.push_to_hf_hub` sends: weights and open_clip_config.json."""
    model = _clip()
    (folder / "snapshot").mkdir()
    save_file(model.state_dict(), folder / "snapshot" / "open_clip_model.safetensors")
    model.visual.image_mean, model.visual.image_std = _MEAN, _STD
    model.visual.preprocess_cfg = {"interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"embed_dim": 16, "vision_cfg": _VISION, "text_cfg": _TEXT}
    save_config_for_hf(model, folder / "snapshot" / "open_clip_config.json", config)
    return _tower(model, given, options=options or {})


def _openai(folder: Path) -> Exports:
    """OpenAI's files as a state dict: float16, and three numbers of the text side."""
    model = _clip(quick_gelu=True)
    numbers = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(8), "vocab_size": torch.tensor(64)}
    state = {name: value.half() for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in state.items()})
    save({**state, **numbers}, folder / "ViT-B-32.pt")
    options = {"arch": "vit_base_patch32_clip_quickgelu_224", "model_kwargs": _TIMM}
    return _tower(model, "ViT-B-32.pt", options=options)


def _tower_alone(folder: Path) -> Exports:
    """`model.visual.state_dict()`."""
    model = _clip()
    save(model.visual.state_dict(), folder / "visual.pt")
    return _tower(model, "visual.pt", options=_OPTIONS)


def _timm_tower(folder: Path) -> Exports:
    """SigLIP of OpenCLIP: a tower of timm under visual.trunk."""
    arguments: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    arch = "vit_base_patch16_siglip_224"
    tower = seeded(timm.create_model(arch, num_classes=0, **arguments))
    state = {f"visual.trunk.{name}": value for name, value in tower.state_dict().items()}
    text = {"text.token_embedding.weight": torch.zeros(64, 32), "text.ln_final.weight": torch.ones(32)}
    save({**state, **text, "logit_scale": torch.tensor(4.6), "logit_bias": torch.tensor(-10.0)}, folder / "siglip.pt")
    options = {"arch": arch, "model_kwargs": {**arguments, "num_classes": 0}}
    return logits_of(tower, "siglip.pt", name="embedding", options=options)


_LIBRARY = ("open_clip_torch", "timm")

KINDS = (
    Kind("OpenCLIP: state_dict", _LIBRARY, _state),
    Kind("OpenCLIP: checkpoint of open_clip_train", _LIBRARY, _training),
    Kind("OpenCLIP: open_clip_pytorch_model.bin", _LIBRARY, _custom_text),
    Kind("OpenCLIP: hub folder", _LIBRARY, partial(_hub_folder, given="snapshot", options=_OPTIONS)),
    Kind(
        "OpenCLIP: open_clip_model.safetensors",
        _LIBRARY,
        partial(_hub_folder, given="snapshot/open_clip_model.safetensors", options=_OPTIONS),
    ),
    Kind("OpenCLIP: the vision tower alone", _LIBRARY, _tower_alone),
    Kind("OpenCLIP: SigLIP with timm's tower", _LIBRARY, _timm_tower),
    Kind("OpenAI CLIP: state_dict in float16", _LIBRARY, _openai),
)
