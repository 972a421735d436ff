"""What the tables of small models share: what a model is, and its random weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

CLASSES = 7
Make = Callable[[], nn.Module]


class Reads(nn.Module):
    """One tensor of what a model gives.

    Args:
        model: any.
        read: takes the tensor out of the result.
        named: the argument that the images are passed as; None: the first.
    """

    def __init__(self, model: nn.Module, read: Callable[[Any], torch.Tensor], named: str | None = None) -> None:
        super().__init__()
        self.model, self.read, self.named = model, read, named

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(self.model(x) if self.named is None else self.model(**{self.named: x}))


def randomised(model: nn.Module) -> nn.Module:
    """The model in evaluation mode: weights of unit gain, norms near one, nothing zero."""
    norms = (nn.LayerNorm, nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm)
    gains = {id(module.weight) for module in model.modules() if isinstance(module, norms) and module.weight is not None}
    model = model.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if id(parameter) in gains or (name.endswith(("gamma", "weight")) and parameter.dim() == 1):
            parameter.copy_(1 + 0.1 * noise)
        elif name.endswith("weight") and parameter.dim() > 1 and "table" not in name and "embeddings" not in name:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        elif "temperature" in name or "logit_scale" in name:
            continue
        else:
            parameter.copy_(0.2 * noise)
    for path, buffer in model.named_buffers():
        if path.endswith(("running_mean", "running_var")):
            buffer.copy_(buffer + 0.2 * torch.rand(buffer.shape, generator=generator))
    return model
