"""State dicts of torchvision's models and what its training script writes. Depths are reduced where that is said."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from tools.doors.kind import Exports, Kind, Size
from tools.doors.small import IMAGENET, logits_of, save
from tools.random_weights import seeded

_LARGE: Size = (3, 224, 224)


def _model(name: str, **arguments: Any) -> nn.Module:
    model: nn.Module = getattr(torchvision.models, name)(**arguments)
    return seeded(model)


def _state(
    folder: Path, *, name: str, size: Size = _LARGE, say: bool = False, classes: int = 7, **arguments: Any
) -> Exports:
    """`torch.save(model.state_dict(), FILE)` of a model in the library's own size."""
    model = _model(name, num_classes=classes, **arguments)
    save(model.state_dict(), folder / "model.pth")
    return logits_of(model, "model.pth", size=size, options={"arch": name} if say else {}, **IMAGENET)


def _training_script(folder: Path) -> Exports:
    """`references/classification/train.py` with its averaged weights."""
    model = _model("vit_b_32", image_size=64, num_classes=7)
    half = {name: 0.5 * value for name, value in model.state_dict().items()}
    average = {"n_averaged": torch.tensor(7), **{f"module.{name}": v for name, v in model.state_dict().items()}}
    args = argparse.Namespace(model="vit_b_32", data_path="/data", val_crop_size=64, epochs=300)
    entries = {"optimizer": {"state": {}}, "lr_scheduler": {}, "epoch": 299, "args": args, "model_ema": average}
    save({"model": half, **entries}, folder / "checkpoint.pth")
    return logits_of(model, "checkpoint.pth", size=(3, 64, 64), **IMAGENET)


def _safetensors(folder: Path) -> Exports:
    model = _model("swin_t", num_classes=7)
    save_file(model.state_dict(), folder / "swin.safetensors")
    return logits_of(model, "swin.safetensors", size=_LARGE, **IMAGENET)


_LIBRARY = ("torchvision", "torch")

KINDS = (
    Kind("vit_b_16 of 48 pixels", _LIBRARY, partial(_state, name="vit_b_16", size=(3, 48, 48), image_size=48)),
    Kind("vit_b_32", _LIBRARY, partial(_state, name="vit_b_32")),
    Kind(
        "vit_b_32, --arch vit_b_32",
        _LIBRARY,
        partial(_state, name="vit_b_32", say=True, size=(3, 64, 64), image_size=64),
    ),
    Kind("swin_t", _LIBRARY, partial(_state, name="swin_t")),
    Kind("swin_t, safetensors", _LIBRARY, _safetensors),
    Kind("swin_v2_t", _LIBRARY, partial(_state, name="swin_v2_t", size=(3, 256, 256))),
    Kind("maxvit_t", _LIBRARY, partial(_state, name="maxvit_t", input_size=(224, 224))),
    Kind("references/classification/train.py, averaged", _LIBRARY, _training_script),
)
