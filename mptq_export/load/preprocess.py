"""The preprocessing that belongs to a model."""

from collections.abc import Mapping
from typing import Any

from timm.data import resolve_data_config
from torch import nn

from mptq_export.data.preprocessing import Preprocessing


def preprocessing_of(model: nn.Module, override: Mapping[str, Any] | None = None) -> Preprocessing:
    """The model's preprocessing, for the image size that it was built with.

    Args:
        model: a timm model; one without `pretrained_cfg` gets timm's defaults.
        override: values that take the place of those in `pretrained_cfg`.

    Raises:
        MptqError: the configuration does not make sense.
    """
    config = dict(resolve_data_config(pretrained_cfg={**getattr(model, "pretrained_cfg", {}), **(override or {})}))
    embed = getattr(model, "patch_embed", None)
    if embed is not None:
        channels, *size = config["input_size"]
        first = next((module for module in embed.modules() if isinstance(module, nn.Conv2d)), None)
        if first is not None:
            channels = first.in_channels
        config["input_size"] = (channels, *(getattr(embed, "img_size", None) or size))
    return Preprocessing.from_config(config)
