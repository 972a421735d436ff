"""Modules and programs that have to be refused: what stops them is named with the line of their source."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from tools.doors.kind import Kind, Refused
from tools.doors.kinds.modules import made

_LINE: dict[str, Any] = {"img_size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

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


def _refused_module(name: str, function: str, *says: str) -> Kind:
    return Kind(f"module: {name}", ("torch",), partial(_module, function=function, says=says))


KINDS = (
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
