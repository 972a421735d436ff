"""A model that came built and filled: what is known of it, and of its input."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from mptq_export.load.file.checkpoint import class_names_of
from mptq_export.load.inputs import PARTS, option_of
from mptq_export.load.loaded import LoadedModel, fitting_names, inference_ready
from mptq_export.load.loader import Source
from mptq_export.load.timm.backbone import as_backbone
from mptq_export.load.timm.clip_activation import activation_of_weights
from mptq_export.load.timm.given import given_by
from mptq_export.load.timm.precedence import OPTION
from mptq_export.load.timm.preprocess import Stated, resolve_input
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Prebuilt:
    """A model that needs nothing but its facts.

    Attributes:
        model: the model.
        name: of its architecture.
        found_in: where model and name come from, for people.
        default: whose word on the input counts where nothing else says it, for people.
        stated: what the checkpoint says of the input.
        model_kwargs: arguments that it was built with.
        class_names: those that the checkpoint has; None: those of the model's own configuration.
    """

    model: nn.Module
    name: str
    found_in: str
    default: str
    stated: tuple[Stated, ...] = ()
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None


def loaded_from(built: Prebuilt, source: Source) -> LoadedModel:
    """The model with what is known of it.

    Raises:
        MptqError: the user wants another size than it was built for.
    """
    model, options = built.model, source.asked
    given, asked = options.inputs.given(), options.inputs.img_size
    stated = (Stated(OPTION, {part: given[part] for part in PARTS if part in given}), *built.stated)
    resolved = resolve_input(model, stated, built.default, built.model_kwargs, asked, confirmed=True)
    own = resolve_input(model, stated, built.default, built.model_kwargs, confirmed=True).preprocessing.input_size[1:]
    if asked is not None and asked != own and getattr(model, "patch_embed", None) is not None:
        raise MptqError(f"{source.asked.name} is built for {own[0]}x{own[1]}; leave --img-size out, or pass --arch")
    own_names = class_names_of(pretrained_cfg_of(model).get("label_names"))
    names, warnings = fitting_names(built.class_names or own_names, getattr(model, "num_classes", None))
    sources = {part: option_of(part) if part in given else built.default for part in ("img_size", "in_chans")}
    model = inference_ready(model)
    return LoadedModel(
        model=model,
        arch=built.name,
        model_kwargs=dict(built.model_kwargs),
        arch_source=built.found_in,
        preprocessing=resolved.preprocessing,
        class_names=names,
        notes=resolved.notes,
        asked=source.asked,
        warnings=(*activation_of_weights(built.name, model, built.model_kwargs), *warnings),
        weights=built.found_in,
        input_sources={**sources, **resolved.sources},
        feature_maker=as_backbone,
        outputs=given_by(model, resolved.preprocessing.input_size),
    )


def pretrained_cfg_of(model: nn.Module) -> Mapping[str, Any]:
    """The `pretrained_cfg` of a model; empty where it has none."""
    config = getattr(model, "pretrained_cfg", None)
    return config if isinstance(config, Mapping) else {}
