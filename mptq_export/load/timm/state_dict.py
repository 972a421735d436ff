"""A checkpoint's tensors into the timm model that they belong to.

Every tensor of the model must come from the checkpoint, and every tensor of the checkpoint must have a place, or a
reason why it needs none. Names that do not match are converted as timm does it for the family, as long as no value is
computed anew. What is said of the model and its input is believed in the order of `precedence`.
"""

import timm
from torch import nn

from mptq_export.load.file import advice
from mptq_export.load.loaded import LoadedModel, fitting_names, inference_ready
from mptq_export.load.loader import Loader, Source
from mptq_export.load.timm.architecture import named_architecture, resolve_architecture
from mptq_export.load.timm.backbone import as_backbone
from mptq_export.load.timm.clip_activation import check_activation
from mptq_export.load.timm.fit import Fit, fit, shapes_of
from mptq_export.load.timm.given import given_by, without_classifier
from mptq_export.load.timm.harmless import needed
from mptq_export.load.timm.hub_config import HubConfig, read_hub_config
from mptq_export.load.timm.layouts.clip import is_clip, is_trunk
from mptq_export.load.timm.layouts.table import translated
from mptq_export.load.timm.open_clip_config import read_open_clip_config
from mptq_export.load.timm.place_tensors import check_left_out, place
from mptq_export.load.timm.pooling import pooling
from mptq_export.load.timm.precedence import Asked, asked_of
from mptq_export.load.timm.preprocess import resolve_input, unconfirmed
from mptq_export.load.timm.rotary import check_rotary
from mptq_export.support.errors import one_line
from mptq_export.support.limits import check_memory


def load_state_dict(source: Source) -> LoadedModel:
    """Find the architecture, build it and fill it.

    Raises:
        MptqError: the checkpoint cannot be read, its architecture cannot be told, or its tensors do not fit.
    """
    options = source.asked
    config, unread = _configuration(source)
    named = options.arch or named_architecture(source.checkpoint) or (config.architecture if config else None)
    translation = translated(source.checkpoint, named)
    checkpoint, names, config = translation.checkpoint, translation.names, config or translation.shown
    asked = asked_of(checkpoint, options.model_kwargs, options.inputs, options.arch, config)
    architecture = resolve_architecture(
        checkpoint,
        arch=options.arch,
        model_kwargs=asked.model_kwargs,
        hints=asked.hints,
        stated=asked.overrides,
        names=names,
        config=config,
        among=translation.models,
    )
    name = architecture.name
    fitted = fit(name, needed(shapes_of(checkpoint.state_dict), names), asked.model_kwargs, asked.hints)
    renamed = checkpoint.named_for(fitted.model.state_dict())
    if renamed is not checkpoint:
        checkpoint, names = renamed, names | renamed.state_dict.keys()
        fitted = fit(name, needed(shapes_of(checkpoint.state_dict), names), asked.model_kwargs, asked.hints)
    translation.prune(fitted.model)
    translation.check_heads(fitted.model, name)
    tagged = config.with_tag(name) if config else name
    activation = check_activation(checkpoint.path, names, tagged, fitted)
    stored = checkpoint.state_dict
    cut: tuple[str, ...] = ()
    if options.model_kwargs.get("num_classes") == 0:
        stored, cut = without_classifier(stored, fitted.model)
    placed = place(checkpoint.path, stored, fitted.model, name, names)
    weights = sum(parameter.numel() for parameter in fitted.model.parameters())
    check_memory(f"the float model {name}", 4.0 * weights, "use a machine with more, or a smaller model")
    model: nn.Module = timm.create_model(name, **fitted.model_kwargs)
    translation.prune(model)
    check_left_out(checkpoint.path, placed, model, name)
    angles = check_rotary(checkpoint.path, placed.left_out, model, name)
    model.load_state_dict(placed.tensors)
    resolved = resolve_input(model, asked.stated, _default_of(name), fitted.model_kwargs, fitted.size)
    named_classes = checkpoint.class_names or (config.class_names if config else None)
    classes, warnings = fitting_names(None if cut else named_classes, getattr(model, "num_classes", None))
    told = (*asked.warnings, *fitted.conflicts, *activation, *pooling(model, fitted, asked.givers, names), *angles)
    converted = (*checkpoint.notes, *translation.notes, *cut)
    inferred = (f"{key} {fitted.model_kwargs[key]} read from the weights" for key in fitted.inferred)
    model = inference_ready(model)
    return LoadedModel(
        model=model,
        arch=name,
        model_kwargs=fitted.model_kwargs,
        arch_source=architecture.source,
        preprocessing=resolved.preprocessing,
        class_names=classes,
        notes=tuple(map(one_line, (*converted, *inferred, *asked.notes, *placed.notes, *resolved.notes))),
        asked=source.asked,
        warnings=tuple(map(one_line, (*told, *warnings, *unread))),
        weights=checkpoint.weights,
        class_map=checkpoint.class_map,
        input_sources={**_shape_sources(fitted, asked, name), **resolved.sources},
        feature_maker=as_backbone,
        outputs=given_by(model, resolved.preprocessing.input_size),
    )


def _configuration(source: Source) -> tuple[HubConfig | None, tuple[str, ...]]:
    """The configuration beside the checkpoint, where it is about this model, and a sentence where it is not."""
    checkpoint = source.checkpoint
    folder, tensors = checkpoint.path.parent, checkpoint.state_dict
    config = read_open_clip_config(folder, len(tensors)) if is_clip(tensors) or is_trunk(tensors) else None
    config = config or read_hub_config(folder, len(tensors))
    known = source.asked.arch or named_architecture(checkpoint)
    if config is not None and known is not None and not config.is_of(known):
        return None, (f"the {config.source} beside the weights is of {config.architecture}, not of {known}: not read",)
    return config, tuple(text.strip() for text in [advice.beside(checkpoint.path)] if text)


def _shape_sources(fitted: Fit, asked: Asked, arch: str) -> dict[str, str]:
    """Who says size and channels."""
    default = unconfirmed(_default_of(arch))
    return {part: asked.givers.get(part, fitted.sources.get(part, default)) for part in ("img_size", "in_chans")}


def _default_of(arch: str) -> str:
    return f"the default of {arch}"


LOADER = Loader(lambda _: True, load_state_dict)
