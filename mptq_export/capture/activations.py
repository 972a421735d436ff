"""Activation functions: element-wise, of one argument."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

#: Functions `x * sigmoid(slope * x)`, by name.
SIGMOID_SLOPES = {"silu": 1.0, "quick_gelu": 1.702}


def activation(x: torch.Tensor, function: str) -> torch.Tensor:
    """An activation function.

    Args:
        x: float32.
        function: `gelu`, `gelu_tanh`, `silu`, `quick_gelu`, `sigmoid`, `tanh`, `hardswish` or `relu`.
    """
    if function in SIGMOID_SLOPES:
        return x * torch.sigmoid(x * SIGMOID_SLOPES[function])
    if function == "relu":
        return F.relu(x)
    if function == "sigmoid":
        return torch.sigmoid(x)
    if function == "tanh":
        return torch.tanh(x)
    if function == "hardswish":
        return F.hardswish(x)
    return F.gelu(x, approximate="tanh" if function == "gelu_tanh" else "none")
