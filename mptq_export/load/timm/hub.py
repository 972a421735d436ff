"""Pretrained weights from timm's hub: `timm:NAME`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import timm
from timm.models import is_model_pretrained
from torch import nn

from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.timm.architecture import check_name
from mptq_export.load.timm.door import HUB
from mptq_export.load.timm.prebuilt import Prebuilt, loaded_from
from mptq_export.support.errors import MptqError


def load_pretrained(source: Source) -> LoadedModel:
    """Download the weights and build their model.

    Raises:
        MptqError: timm has no such weights, the hub cannot be reached, or the options do not fit.
    """
    spec, options = source.asked.name, source.asked
    name = check_name(spec.removeprefix(HUB))
    if options.arch not in (None, name):
        raise MptqError(f"{spec} names its architecture; leave --arch {options.arch} out")
    if not is_model_pretrained(name):
        raise MptqError(f"timm has no pretrained weights for {name}; give a checkpoint")
    kwargs = dict(options.model_kwargs)
    kwargs.update(_unlike(name, options.inputs.given()))
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, **kwargs)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()
        raise MptqError(
            f"cannot load {spec} ({type(error).__name__}: {reason[0] if reason else 'no reason given'}); check the "
            "network and --model-kwargs, or download the checkpoint and give its path"
        ) from error
    built = Prebuilt(model, name, "timm's hub", f"timm's configuration of {name}", model_kwargs=kwargs)
    loaded = loaded_from(built, source)
    changed = ", ".join(_unlike(name, kwargs))
    notes = (f"timm resamples the weights: they were trained with another {changed}",) if changed else ()
    return replace(loaded, notes=(*notes, *loaded.notes))


def _unlike(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Size and channels that are not those of the weights; a size only where the model has one."""
    config = timm.get_pretrained_cfg(name).to_dict()
    channels, *size = config.get("input_size", ())
    own = {"in_chans": channels, "img_size": tuple(size)}
    asked = ["in_chans", *(["img_size"] if config.get("fixed_input_size") else [])]
    return {part: given[part] for part in asked if part in given and given[part] != own[part]}


LOADER = Loader(lambda source: source.asked.name.startswith(HUB), load_pretrained)
