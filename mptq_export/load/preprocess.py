"""The preprocessing that belongs to a model."""

from collections.abc import Mapping
from typing import Any

from timm.data import resolve_data_config
from torch import nn

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.errors import MptqError


def preprocessing_of(
    model: nn.Module, override: Mapping[str, Any] | None = None, model_kwargs: Mapping[str, Any] | None = None
) -> Preprocessing:
    """The model's preprocessing, for the image size that it was built with.

    Args:
        model: a timm model; one without `pretrained_cfg` gets timm's defaults.
        override: values that take the place of those in `pretrained_cfg`.
        model_kwargs: what the model was built with; `img_size` counts where the model itself does not tell its own.

    Raises:
        MptqError: the configuration does not make sense.
    """
    asked = {**getattr(model, "pretrained_cfg", {}), **(override or {})}
    try:
        config = dict(resolve_data_config(pretrained_cfg=asked))
        channels, *size = config["input_size"]
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise MptqError(
            f"preprocessing: the pretrained_cfg does not make sense ({type(error).__name__}: {str(error)[:200]}); save "
            "the checkpoint with the right one, or without"
        ) from error
    asked_size = (model_kwargs or {}).get("img_size")
    if asked_size is not None:
        size = [asked_size] * 2 if isinstance(asked_size, int) else list(asked_size)
        config["input_size"] = (channels, *size)
    embed = getattr(model, "patch_embed", None)
    if embed is not None:
        first = next((module for module in embed.modules() if isinstance(module, nn.Conv2d)), None)
        if first is not None:
            channels = first.in_channels
        config["input_size"] = (channels, *(getattr(embed, "img_size", None) or size))
    return Preprocessing.from_config(config)
