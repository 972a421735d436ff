"""Modules of one's own: from Python, by `package.module:function`, as a saved program, as a pickle."""

import importlib
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools.doors.kind import Exports, Kind, Size

#: What somebody's package holds, a function a kind; `doors_models` is its name.
_SOURCE = '''"""Models of somebody's own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


def simple_vit() -> nn.Module:
    from vit_pytorch import SimpleViT

    torch.manual_seed(0)
    sizes = dict(dim=32, depth=2, heads=2, mlp_dim=64, dim_head=16)
    return SimpleViT(image_size=32, patch_size=8, num_classes=7, **sizes).eval()


def vision_transformer() -> nn.Module:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=7).eval()
    nn.init.normal_(model.heads.head.weight)
    return model


def transformers_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    return ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, num_labels=7, **sizes)).eval()


class Encoder(nn.Module):
    """A patch embedding and torch's own encoder."""

    def __init__(self, batch_first: bool = True, norm_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.position = nn.Parameter(torch.randn(1, 16, 32) * 0.2)
        layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", batch_first=batch_first, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        if self.batch_first:
            return self.encoder(tokens)
        return self.encoder(tokens.transpose(0, 1)).transpose(0, 1)


class Classifier(Encoder):
    def __init__(self, **changed: bool) -> None:
        super().__init__(**changed)
        self.head = nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(super().forward(x).mean(1))


@dataclass
class Found:
    logits: Tensor
    pred_boxes: Tensor


class Detector(Encoder):
    """Several outputs, as `form` says."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.classes, self.boxes, self.embed = nn.Linear(32, 8), nn.Linear(32, 4), nn.Linear(32, 16)

    def forward(self, x: Tensor):
        tokens = super().forward(x)
        boxes = self.boxes(tokens[:, :4]).sigmoid()
        if self.form == "dataclass":
            return Found(self.classes(tokens.mean(1)), boxes)
        four = {
            "logits": self.classes(tokens.mean(1)),
            "image_embeds": self.embed(tokens[:, 0]),
            "last_hidden_state": tokens,
            "pred_boxes": boxes,
        }
        return four if self.form == "dictionary" else tuple(four.values())


def _made(make) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def classifier() -> nn.Module:
    return _made(Classifier)


def batch_second() -> nn.Module:
    return _made(lambda: Classifier(batch_first=False))


def norm_last() -> nn.Module:
    return _made(lambda: Classifier(norm_first=False))


def four_outputs() -> nn.Module:
    return _made(lambda: Detector("dictionary"))


def a_tuple() -> nn.Module:
    return _made(lambda: Detector("tuple"))


def a_dataclass() -> nn.Module:
    return _made(lambda: Detector("dataclass"))
'''

_INPUT: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_PYTHON = {"input_size": (3, 32, 32), **_INPUT}
_LINE = {"img_size": 32, **_INPUT}
Outputs = Callable[[Any], Mapping[str, Tensor]]


def made(folder: Path, function: str, source: str = _SOURCE) -> nn.Module:
    """What a function of `doors_models.models` makes, a package in the working folder."""
    (folder / "doors_models").mkdir()
    (folder / "doors_models" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "doors_models" / "models.py").write_text(source, encoding="utf-8")
    sys.path.insert(0, str(folder))
    model: nn.Module = getattr(importlib.import_module("doors_models.models"), function)()
    return model.requires_grad_(False)


def _one(given: Any) -> dict[str, Tensor]:
    return {"logits": given}


def _named(given: Any) -> dict[str, Tensor]:
    items = given.items() if isinstance(given, Mapping) else vars(given).items()
    return {name: value for name, value in items if isinstance(value, Tensor)}


def _numbered(given: Any) -> dict[str, Tensor]:
    """Outputs of a tuple have no names of their own."""
    return {f"output.{n}": value for n, value in enumerate(given)}


def _from_python(folder: Path, *, function: str, outputs: Outputs = _one) -> Exports:
    model = made(folder, function)
    given = f"doors_models.models:{function}"
    return Exports(given, lambda x: outputs(model(x)), options=_PYTHON, from_python=True, importable=True)


def _from_line(folder: Path, *, function: str, outputs: Outputs = _one, chosen: tuple[str, ...] = ()) -> Exports:
    model = made(folder, function)
    options = {**_LINE, **({"outputs": chosen} if chosen else {})}
    return Exports(f"doors_models.models:{function}", lambda x: outputs(model(x)), options=options)


def _chosen(given: Any) -> dict[str, Tensor]:
    return {name: given[name] for name in ("pred_boxes", "logits")}


def _program(folder: Path, *, function: str, name: str = "model.pt2", outputs: Outputs = _one) -> Exports:
    """`torch.export.save`."""
    model = made(folder, function)
    free = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=free)
    torch.export.save(program, folder / "program.pt2")
    (folder / "program.pt2").rename(folder / name)
    shutil.rmtree(folder / "doors_models")
    return Exports(name, lambda x: outputs(model(x)), options={"trust": True, **_INPUT})


def _pickle(folder: Path, *, function: str) -> Exports:
    """`torch.save(model)` of a class that the reader can import."""
    model = made(folder, function)
    torch.save(model, folder / "whole.pth")
    return Exports("whole.pth", lambda x: _one(model(x)), options={"trust": True, **_LINE}, importable=True)


def _grey(folder: Path) -> Exports:
    """One channel, an image that is no square."""
    source = _SOURCE.replace("nn.Conv2d(3, 32, 8, 8)", "nn.Conv2d(1, 32, 8, 8)").replace("(1, 16, 32)", "(1, 24, 32)")
    model = made(folder, "classifier", source)
    size: Size = (1, 32, 48)
    options = {"input_size": size, "mean": (0.1307,), "std": (0.3081,)}
    given = "doors_models.models:classifier"
    return Exports(
        given, lambda x: _one(model(x)), size, options, (0.1307,), (0.3081,), from_python=True, importable=True
    )


_TORCH = ("torch",)

KINDS = (
    Kind("module in Python: vit-pytorch", ("vit-pytorch", "torch"), partial(_from_python, function="simple_vit")),
    Kind(
        "module in Python: torchvision", ("torchvision", "torch"), partial(_from_python, function="vision_transformer")
    ),
    Kind(
        "module in Python: transformers",
        ("transformers", "torch"),
        partial(_from_python, function="transformers_vit", outputs=lambda given: {"logits": given.logits}),
    ),
    Kind("module in Python: nn.TransformerEncoder", _TORCH, partial(_from_python, function="classifier")),
    Kind("module in Python: batch second", _TORCH, partial(_from_python, function="batch_second")),
    Kind("module in Python: norm last", _TORCH, partial(_from_python, function="norm_last")),
    Kind(
        "module in Python: four outputs in a dictionary",
        _TORCH,
        partial(_from_python, function="four_outputs", outputs=_named),
    ),
    Kind("module in Python: a tuple", _TORCH, partial(_from_python, function="a_tuple", outputs=_numbered)),
    Kind("module in Python: a dataclass", _TORCH, partial(_from_python, function="a_dataclass", outputs=_named)),
    Kind("module in Python: grey, no square", _TORCH, _grey),
    Kind("package.module:function", _TORCH, partial(_from_line, function="classifier")),
    Kind("package.module:function, four outputs", _TORCH, partial(_from_line, function="four_outputs", outputs=_named)),
    Kind(
        "package.module:function, two of four (--outputs)",
        _TORCH,
        partial(_from_line, function="four_outputs", outputs=_chosen, chosen=("pred_boxes", "logits")),
    ),
    Kind("ExportedProgram, .pt2", _TORCH, partial(_program, function="classifier")),
    Kind("ExportedProgram, four outputs", _TORCH, partial(_program, function="four_outputs", outputs=_named)),
    Kind("ExportedProgram by the name of .pt", _TORCH, partial(_program, function="classifier", name="model.pt")),
    Kind("module, whole, of one's own (--trust)", _TORCH, partial(_pickle, function="classifier")),
    Kind("module, whole, of vit-pytorch (--trust)", ("vit-pytorch", "torch"), partial(_pickle, function="simple_vit")),
)
