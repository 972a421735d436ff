"""From what the user names to a float model that is ready to be captured."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
from timm.models import is_model_pretrained
from torch import nn

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.advice import beside
from mptq_export.load.architecture import check_name, resolve_architecture
from mptq_export.load.asked import KWARGS, OPTION, Asked, asked_of
from mptq_export.load.checkpoint import Checkpoint, class_names_of, read_checkpoint
from mptq_export.load.features import FeatureMap
from mptq_export.load.fit import Fit, fit, shapes_of
from mptq_export.load.harmless import rotary
from mptq_export.load.inputs import PARTS, InputOptions, option_of
from mptq_export.load.path import HUB
from mptq_export.load.place import check_left_out, place
from mptq_export.load.preprocess import Stated, resolve_input, unconfirmed
from mptq_export.load.request import ModelRequest
from mptq_export.load.train_args import SOURCE as ARGS
from mptq_export.support.errors import MptqError, one_line
from mptq_export.support.limits import check_memory


@dataclass(frozen=True)
class LoadedModel:
    """A float model and what is known about it.

    Attributes:
        model: in evaluation mode, float32, on the CPU.
        arch: timm name.
        model_kwargs: arguments that it was built with.
        arch_source: where the name comes from, for people.
        preprocessing: how an image becomes its input.
        class_names: names of the logits, if known.
        notes: what was inferred, a sentence each, for people.
        asked: what the user said.
        features: the feature maps that it gives; empty where it gives logits (see `load.features`).
        warnings: what the user must see before the file is used, a sentence each: it stands on stderr, in `--json` and
            in the report.
        weights: which of the file's weights were taken, for people.
        class_map: the file that numbered the classes at training, where the checkpoint names one.
        input_sources: who said each part of the input, by name (see `load.inputs`), for people.
    """

    model: nn.Module
    arch: str
    model_kwargs: dict[str, Any]
    arch_source: str
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]
    asked: ModelRequest
    features: tuple[FeatureMap, ...] = ()
    warnings: tuple[str, ...] = ()
    weights: str = "given with the model"
    class_map: str | None = None
    input_sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of its feature maps."""
        return tuple(feature.name for feature in self.features)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it gives."""
        return self.maps or ("logits",)

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def load_model(
    spec: str | Path,
    *,
    arch: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    trust: bool = False,
    inputs: InputOptions | None = None,
) -> LoadedModel:
    """Load a checkpoint, or pretrained weights from timm's hub.

    Every tensor of the model must come from the checkpoint, and every tensor of the checkpoint must have a place, or a
    reason why it needs none. Names that do not match are converted as timm does it for the family, as long as no value
    is computed anew. What is said of the model and its input is believed in the order of `load.asked`.

    Args:
        spec: path of a checkpoint, or ``timm:NAME``.
        arch: timm name; overrides the checkpoint's.
        model_kwargs: arguments for `timm.create_model`; each overrides the checkpoint's. `num_classes`, `in_chans` and
            a square `img_size` are inferred from the tensors where they are not given.
        trust: whether the file may run code while it is unpickled.
        inputs: how images become the input, where the user says it.

    Raises:
        MptqError: the checkpoint cannot be read, its architecture cannot be told, its tensors do not fit, options
            contradict each other, or the hub cannot be reached.
    """
    text, options = str(spec), ModelRequest(str(spec), arch, model_kwargs or {}, trust, inputs or InputOptions())
    if text.startswith(HUB):
        return _from_hub(text, options)
    checkpoint = read_checkpoint(Path(spec), trust=trust)
    if checkpoint.module is not None and arch is None:
        return _from_module(checkpoint, text, options)
    asked = asked_of(checkpoint, options.model_kwargs, options.inputs, arch)
    architecture = resolve_architecture(
        checkpoint, arch=arch, model_kwargs=asked.model_kwargs, hints=asked.hints, stated=asked.overrides
    )
    name = architecture.name
    fitted = fit(name, shapes_of(checkpoint.state_dict), asked.model_kwargs, asked.hints)
    placed = place(checkpoint.path, checkpoint.state_dict, fitted.model, name)
    weights = sum(parameter.numel() for parameter in fitted.model.parameters())
    check_memory(f"the float model {name}", 4.0 * weights, "use a machine with more, or a smaller model")
    model: nn.Module = timm.create_model(name, **fitted.model_kwargs)
    check_left_out(checkpoint.path, placed, model, name)
    model.load_state_dict(placed.tensors)
    resolved = resolve_input(model, asked.stated, _default_of(name), fitted.model_kwargs, fitted.size)
    names, warnings = _fitting(checkpoint.class_names, model)
    unread = [text.strip() for text in [beside(checkpoint.path)] if text]
    told = (*asked.warnings, *fitted.conflicts, *rotary(placed.left_out, model), *warnings, *unread)
    inferred = (f"{key} {fitted.model_kwargs[key]} read from the weights" for key in fitted.inferred)
    return LoadedModel(
        model=_ready(model),
        arch=name,
        model_kwargs=fitted.model_kwargs,
        arch_source=architecture.source,
        preprocessing=resolved.preprocessing,
        class_names=names,
        notes=tuple(map(one_line, (*inferred, *asked.notes, *placed.notes, *resolved.notes))),
        asked=options,
        warnings=tuple(map(one_line, told)),
        weights=checkpoint.weights,
        class_map=_class_map(checkpoint),
        input_sources={**_shape_sources(fitted, asked, checkpoint, options, name), **resolved.sources},
    )


def _class_map(checkpoint: Checkpoint) -> str | None:
    """The file that numbered the classes at training, where the checkpoint names one."""
    named = checkpoint.args.flag("class_map")
    return named if isinstance(named, str) else None


def _default_of(arch: str) -> str:
    return f"the default of {arch}"


def _shape_sources(
    fitted: Fit, asked: Asked, checkpoint: Checkpoint, options: ModelRequest, arch: str
) -> dict[str, str]:
    """Who says size and channels."""
    found = {}
    for part in ("img_size", "in_chans"):
        source = fitted.sources.get(part, unconfirmed(_default_of(arch)))
        if part in asked.model_kwargs:
            source = KWARGS if part in checkpoint.model_kwargs else ARGS
            source = "--model-kwargs" if part in options.model_kwargs else source
        found[part] = source
    return found


def _from_hub(spec: str, options: ModelRequest) -> LoadedModel:
    name = check_name(spec.removeprefix(HUB))
    if options.arch not in (None, name):
        raise MptqError(f"{spec} names its architecture; leave --arch {options.arch} out")
    if not is_model_pretrained(name):
        raise MptqError(f"timm has no pretrained weights for {name}; give a checkpoint")
    given = options.inputs.given()
    kwargs = dict(options.model_kwargs)
    kwargs.update(_unlike(name, given))
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, **kwargs)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()
        raise MptqError(
            f"cannot load {spec} ({type(error).__name__}: {reason[0] if reason else 'no reason given'}); check the "
            "network and --model-kwargs, or download the checkpoint and give its path"
        ) from error
    loaded = _whole(model, name, spec, options, "timm's hub", f"timm's configuration of {name}", (), kwargs)
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


def _from_module(checkpoint: Checkpoint, source: str, options: ModelRequest) -> LoadedModel:
    module = checkpoint.module
    assert module is not None
    if options.model_kwargs or options.inputs.in_chans is not None:
        named = "--model-kwargs" if options.model_kwargs else "--in-chans"
        raise MptqError(f"{source} is a pickled module, built already; leave {named} out or pass --arch")
    asked = asked_of(checkpoint, {}, options.inputs)
    name = checkpoint.arch or type(module).__name__
    default = f"the configuration in the module {name}" if _config_of(module) else "timm's general default"
    loaded = _whole(
        module, name, source, options, "the pickled module", default, asked.stated, checkpoint.model_kwargs, checkpoint
    )
    return replace(
        loaded,
        warnings=tuple(map(one_line, (*asked.warnings, *loaded.warnings))),
        weights=checkpoint.weights,
        class_map=_class_map(checkpoint),
    )


def _whole(
    model: nn.Module,
    name: str,
    source: str,
    options: ModelRequest,
    found_in: str,
    default: str,
    stated: tuple[Stated, ...],
    model_kwargs: dict[str, Any],
    checkpoint: Checkpoint | None = None,
) -> LoadedModel:
    """A model that came built and filled, with what is known of it.

    Raises:
        MptqError: the user wants another size than it was built for.
    """
    given = options.inputs.given()
    said = Stated(OPTION, {part: given[part] for part in PARTS if part in given})
    asked = options.inputs.img_size
    resolved = resolve_input(model, (said, *stated), default, model_kwargs, asked, confirmed=True)
    own = resolve_input(model, (said, *stated), default, model_kwargs, confirmed=True).preprocessing.input_size[1:]
    if asked is not None and asked != own and getattr(model, "patch_embed", None) is not None:
        raise MptqError(f"{source} is built for {own[0]}x{own[1]}; leave --img-size out, or pass --arch")
    names, warnings = _fitting((checkpoint and checkpoint.class_names) or _own_names(model), model)
    sources = {part: option_of(part) if part in given else default for part in ("img_size", "in_chans")}
    return LoadedModel(
        model=_ready(model),
        arch=name,
        model_kwargs=dict(model_kwargs),
        arch_source=found_in,
        preprocessing=resolved.preprocessing,
        class_names=names,
        notes=resolved.notes,
        asked=options,
        warnings=warnings,
        weights=found_in,
        input_sources={**sources, **resolved.sources},
    )


def _config_of(model: nn.Module) -> Mapping[str, Any]:
    config = getattr(model, "pretrained_cfg", None)
    return config if isinstance(config, Mapping) else {}


def _own_names(model: nn.Module) -> tuple[str, ...] | None:
    """Class names in the configuration that belongs to a model's weights."""
    return class_names_of(_config_of(model).get("label_names"))


def _fitting(names: tuple[str, ...] | None, model: nn.Module) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Class names, if there is one for every logit, and what to tell if not."""
    logits = getattr(model, "num_classes", None)
    if names is None or logits in (None, len(names)):
        return names, ()
    return None, (f"{len(names)} class names are left out: the model has {logits} logits",)


def _ready(model: nn.Module) -> nn.Module:
    return model.float().cpu().eval().requires_grad_(False)
