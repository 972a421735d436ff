"""A module, or a program of `torch.export`, that is given in Python."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from mptq_export.load.detection.loader import load_module
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Source
from mptq_export.load.module.own import Own, copied
from mptq_export.load.module.program import load_exported
from mptq_export.load.request import ModelRequest
from mptq_export.load.timm.prebuilt import Prebuilt, loaded_from, pretrained_cfg_of

_TIMM = "timm.models."


def load_given(
    model: nn.Module | torch.export.ExportedProgram, asked: ModelRequest, class_names: tuple[str, ...] | None
) -> LoadedModel:
    """What a caller holds, with what is known of it; it stays as it is.

    Args:
        model: a module or a program.
        asked: what else the caller says; its name is filled.
        class_names: names of the logits, if the caller gives them.

    Raises:
        MptqError: nothing says what its images are, it needs more than them, or what it gives cannot be exported.
    """
    # A command line can make the same where the caller's code is a package with such a function.
    asked = replace(asked, name="PACKAGE.MODULE:MAKE_MODEL")
    if isinstance(model, torch.export.ExportedProgram):
        return load_exported(model, asked, "a program given in Python", class_names)
    config = pretrained_cfg_of(model)
    plain = class_names is None and asked.kinds is None and asked.outputs is None
    if type(model).__module__.startswith(_TIMM) and isinstance(config.get("input_size"), tuple | list) and plain:
        return _of_timm(model, asked, str(config.get("architecture") or type(model).__name__))
    stated = config if isinstance(config, Mapping) else {}
    own = Own(model, "given in Python", stated, "its pretrained_cfg", class_names)
    loaded = load_module(own, asked)
    if asked.features is not None:
        return loaded.with_features(asked.features)
    return loaded


def _of_timm(model: nn.Module, asked: ModelRequest, name: str) -> LoadedModel:
    """A model of timm knows its input itself, and its feature maps."""
    built = Prebuilt(copied(model), name, "given in Python", f"the configuration in the module {name}")
    loaded = loaded_from(built, Source(asked))
    return loaded if asked.features is None else loaded.with_features(asked.features)
