"""A checkpoint of a timm architecture with random weights, for latency and memory where no trained one is at hand."""

from pathlib import Path

import timm
import torch

from mptq_export.load.timm.architecture import check_name


def write_random_checkpoint(arch: str, path: Path, **model_kwargs: int) -> Path:
    """Write weights of unit gain, norms near one, and biases that are not zero (a zero bias is optimised away).

    Args:
        arch: timm name.
        path: the file to write.
        model_kwargs: what timm makes the model with besides: fewer blocks (`depth=2`), another input (`img_size=224`).

    Raises:
        MptqError: timm does not know the name.
    """
    torch.manual_seed(0)
    model = timm.create_model(check_name(arch), **model_kwargs).requires_grad_(False)
    randomise(model)
    torch.save({"arch": arch, "model_kwargs": model_kwargs, "state_dict": model.state_dict()}, path)
    return path


def randomise(model: torch.nn.Module) -> None:
    """Set all parameters of a model, none of which asks for gradients."""
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if "norm" in name and name.endswith("weight"):
            parameter.copy_(1 + 0.1 * noise)
        elif name.endswith("weight") and parameter.dim() > 1:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        else:
            parameter.copy_(0.2 * noise)
