"""GELU or QuickGELU: what no tensor of a CLIP shows, and every result depends on.

OpenAI's weights, and those that were trained in their likeness (MetaCLIP, DFN, OpenCLIP's models with `-quickgelu` in
the name), need QuickGELU, x * sigmoid(1.702 x); most others of OpenCLIP need GELU. timm has an architecture for each.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import timm
from timm.layers import QuickGELU
from torch import nn

from mptq_export.load.timm.fit import Fit
from mptq_export.load.timm.layouts.clip import is_clip, is_openais
from mptq_export.support.errors import MptqError

QUICK = "_clip_quickgelu_"
"""What names of architectures with QuickGELU hold."""


def activation_hint(names: Collection[str]) -> str:
    """Which of several architectures a CLIP is, for the end of a sentence; empty for other checkpoints."""
    if not is_clip(names):
        return ""
    return " (with quickgelu for the weights of OpenAI, MetaCLIP and DFN, and OpenCLIP's with quickgelu in their name)"


def check_activation(path: Path, names: Collection[str], arch: str, fitted: Fit) -> tuple[str, ...]:
    """Warnings for a CLIP whose activation function nobody named.

    Args:
        path: the checkpoint, for the message.
        names: of its tensors.
        arch: name of the architecture, with the tag of its weights where one is known.
        fitted: the model, which may be without memory.

    Raises:
        MptqError: the file is OpenAI's and the model has no QuickGELU.
    """
    known = activation_of_weights(arch, fitted.model, fitted.model_kwargs)
    if known or not is_clip(names) or "act_layer" in fitted.model_kwargs or _is_quick(fitted.model):
        return known
    if is_openais(names):
        raise MptqError(f"{path} is a CLIP of OpenAI, trained with QuickGELU, and {arch} has GELU; pass {_mend(arch)}")
    if "." in arch and timm.get_pretrained_cfg(arch) is not None:
        return ()
    return (
        f"GELU or QuickGELU: no tensor of a CLIP shows it, and {arch} has GELU; if the weights are of OpenAI, MetaCLIP "
        f"or DFN, or of a model of OpenCLIP with quickgelu in its name, pass {_mend(arch)}",
    )


def activation_of_weights(arch: str, model: nn.Module, model_kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """A warning where timm says of weights that they were trained with QuickGELU, and the model has GELU.

    Args:
        arch: name of the architecture, with the tag of its weights.
        model: of it.
        model_kwargs: what it was built with.
    """
    config: Any = timm.get_pretrained_cfg(arch) if "." in arch else None
    native = config is not None and any("QuickGELU" in note for note in config.notes or ())
    if not native or "act_layer" in model_kwargs or _is_quick(model):
        return ()
    return (f"{arch} was trained with QuickGELU and is built with GELU: for the original results pass {_mend(arch)}",)


def _is_quick(model: nn.Module) -> bool:
    return any(isinstance(module, QuickGELU) for module in model.modules())


def _mend(arch: str) -> str:
    other = arch.partition(".")[0].replace("_clip_", QUICK)
    return f"--arch {other}" if timm.is_model(other) else '--model-kwargs \'{"act_layer": "quick_gelu"}\''
