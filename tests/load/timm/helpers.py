"""Small models of timm with weights of which none is trivial, and files of their tensors under other names."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from mptq_export.load.loaders import load_model
from mptq_export.support.errors import MptqError

VIT: dict[str, Any] = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
WRITES_ARGUMENTS = pytest.mark.skipif(
    "data_config" not in inspect.signature(save_for_hf).parameters,
    reason="this version of timm writes no arguments of a model into config.json",
)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def model_of(name: str, **kwargs: Any) -> nn.Module:
    """A model whose norms, biases and scales differ from what they begin with."""
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, **kwargs)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.eval().requires_grad_(False)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def refusal(path: Path | str, **kwargs: Any) -> str:
    """What the user is told: one line."""
    with pytest.raises(MptqError) as caught:
        load_model(path, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def renamed(tensors: dict[str, Tensor], *pairs: tuple[str, str]) -> dict[str, Tensor]:
    """The same under names in which each first text is replaced by the second, in this order."""
    found = {}
    for stored, tensor in tensors.items():
        name = stored
        for old, new in pairs:
            name = name.replace(old, new)
        found[name] = tensor
    return found
