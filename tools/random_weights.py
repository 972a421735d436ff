"""Random weights for a module of any library: the same every time, none of them trivial."""

from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def seeded(model: Model) -> Model:
    """The model in evaluation mode with weights of unit gain, norms near one, and biases that are not zero."""
    generator = torch.Generator().manual_seed(0)
    model.eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() < 2 and name.endswith("weight"):
            parameter.copy_(1 + 0.1 * noise)
        elif name.endswith("weight") and "embeddings" not in name.split(".")[-2:-1]:
            parameter.copy_(noise * max(1, parameter[0].numel()) ** -0.5)
        else:
            parameter.copy_(0.2 * noise)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(buffer + 0.2 * torch.rand(buffer.shape, generator=generator))
    return model
