"""The first stage: a checkpoint, or a name of timm's hub -> a float model with all that is known of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mptq_export.load.features import as_backbone
from mptq_export.load.model import LoadedModel, load_model


def load(
    model: str | Path,
    *,
    arch: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    features: Sequence[int] | None = None,
    trust: bool = False,
) -> LoadedModel:
    """Read a checkpoint, or pretrained weights from timm's hub.

    Args:
        model: path of a `.pt`, `.pth`, `.bin` or `.safetensors` file, or `timm:NAME`.
        arch: timm architecture, where the checkpoint does not name it.
        model_kwargs: arguments for `timm.create_model`; each overrides the checkpoint's.
        features: give these feature maps instead of logits: blocks of a ViT, stages of a Swin; `()` for the deepest of
            every resolution.
        trust: whether the file may run code while it is unpickled.

    Returns:
        The float model with its architecture, preprocessing and class names.

    Raises:
        MptqError: the checkpoint cannot be read, its architecture cannot be told, or its tensors do not fit.
    """
    loaded = load_model(model, arch=arch, model_kwargs=model_kwargs, trust=trust)
    return loaded if features is None else as_backbone(loaded, tuple(features))
