"""A checkpoint's tensors into the timm model that they belong to.

Every tensor of the model must come from the checkpoint, and every tensor of the checkpoint must have a place, or a
reason why it needs none. Names that do not match are converted as timm does it for the family, as long as no value is
computed anew. What is said of the model and its input is believed in the order of `precedence`.
"""

import timm
from torch import nn

from mptq_export.load.file.advice import beside
from mptq_export.load.file.train_args import SOURCE as ARGS
from mptq_export.load.loaded import LoadedModel, fitting_names, inference_ready
from mptq_export.load.loader import Loader, Source
from mptq_export.load.timm.architecture import resolve_architecture
from mptq_export.load.timm.backbone import as_backbone
from mptq_export.load.timm.fit import Fit, fit, shapes_of
from mptq_export.load.timm.given import given_by
from mptq_export.load.timm.place_tensors import check_left_out, place
from mptq_export.load.timm.precedence import KWARGS, Asked, asked_of
from mptq_export.load.timm.preprocess import resolve_input, unconfirmed
from mptq_export.load.timm.rotary import check_rotary
from mptq_export.support.errors import one_line
from mptq_export.support.limits import check_memory


def load_state_dict(source: Source) -> LoadedModel:
    """Find the architecture, build it and fill it.

    Raises:
        MptqError: the checkpoint cannot be read, its architecture cannot be told, or its tensors do not fit.
    """
    checkpoint, options = source.checkpoint, source.asked
    asked = asked_of(checkpoint, options.model_kwargs, options.inputs, options.arch)
    architecture = resolve_architecture(
        checkpoint, arch=options.arch, model_kwargs=asked.model_kwargs, hints=asked.hints, stated=asked.overrides
    )
    name = architecture.name
    fitted = fit(name, shapes_of(checkpoint.state_dict), asked.model_kwargs, asked.hints)
    renamed = checkpoint.named_for(fitted.model.state_dict())
    if renamed is not checkpoint:
        checkpoint = renamed
        fitted = fit(name, shapes_of(checkpoint.state_dict), asked.model_kwargs, asked.hints)
    placed = place(checkpoint.path, checkpoint.state_dict, fitted.model, name)
    weights = sum(parameter.numel() for parameter in fitted.model.parameters())
    check_memory(f"the float model {name}", 4.0 * weights, "use a machine with more, or a smaller model")
    model: nn.Module = timm.create_model(name, **fitted.model_kwargs)
    check_left_out(checkpoint.path, placed, model, name)
    angles = check_rotary(checkpoint.path, placed.left_out, model, name)
    model.load_state_dict(placed.tensors)
    resolved = resolve_input(model, asked.stated, _default_of(name), fitted.model_kwargs, fitted.size)
    names, warnings = fitting_names(checkpoint.class_names, getattr(model, "num_classes", None))
    unread = [text.strip() for text in [beside(checkpoint.path)] if text]
    told = (*asked.warnings, *fitted.conflicts, *angles, *warnings, *unread)
    inferred = (f"{key} {fitted.model_kwargs[key]} read from the weights" for key in fitted.inferred)
    model = inference_ready(model)
    return LoadedModel(
        model=model,
        arch=name,
        model_kwargs=fitted.model_kwargs,
        arch_source=architecture.source,
        preprocessing=resolved.preprocessing,
        class_names=names,
        notes=tuple(map(one_line, (*checkpoint.notes, *inferred, *asked.notes, *placed.notes, *resolved.notes))),
        asked=source.asked,
        warnings=tuple(map(one_line, told)),
        weights=checkpoint.weights,
        class_map=checkpoint.class_map,
        input_sources={**_shape_sources(fitted, asked, source, name), **resolved.sources},
        feature_maker=as_backbone,
        outputs=given_by(model, resolved.preprocessing.input_size),
    )


def _shape_sources(fitted: Fit, asked: Asked, source: Source, arch: str) -> dict[str, str]:
    """Who says size and channels."""
    found = {}
    for part in ("img_size", "in_chans"):
        said = fitted.sources.get(part, unconfirmed(_default_of(arch)))
        if part in asked.model_kwargs:
            said = KWARGS if part in source.checkpoint.model_kwargs else ARGS
            said = "--model-kwargs" if part in source.asked.model_kwargs else said
        found[part] = said
    return found


def _default_of(arch: str) -> str:
    return f"the default of {arch}"


LOADER = Loader(lambda _: True, load_state_dict)
