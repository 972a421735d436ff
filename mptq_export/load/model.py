"""From what the user names to a float model that is ready to be captured."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from timm.models import is_model_pretrained
from torch import Tensor, nn

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.errors import MptqError
from mptq_export.load.architecture import check_name, resolve_architecture
from mptq_export.load.checkpoint import Checkpoint, class_names_of, read_checkpoint
from mptq_export.load.features import FeatureMap
from mptq_export.load.fit import Shapes, fit, shapes_of
from mptq_export.load.preprocess import preprocessing_of
from mptq_export.sizes import check_memory

_HUB = "timm:"
_SHOWN = 3


@dataclass(frozen=True)
class LoadOptions:
    """How the user asked for a model to be read, beside its name.

    Attributes:
        arch: timm name, where one was given.
        model_kwargs: arguments for `timm.create_model` that were given.
        trust: whether the file may run code.
    """

    arch: str | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False


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
        source: what the user named.
        notes: what was inferred, a sentence each, for people.
        options: what else the user said.
        features: the feature maps that it gives; empty where it gives logits (see `load.features`).
        warnings: what the user must see before the file is used, a sentence each: it stands on stderr, in `--json` and
            in the report.
    """

    model: nn.Module
    arch: str
    model_kwargs: dict[str, Any]
    arch_source: str
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    source: str
    notes: tuple[str, ...]
    options: LoadOptions
    features: tuple[FeatureMap, ...] = ()
    warnings: tuple[str, ...] = ()

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
) -> LoadedModel:
    """Load a checkpoint, or pretrained weights from timm's hub.

    Every tensor of the model must come from the checkpoint, and every tensor of the checkpoint must have a place.
    Names that do not match are converted as timm does it for the family, as long as no value is resampled.

    Args:
        spec: path of a checkpoint, or ``timm:NAME``.
        arch: timm name; overrides the checkpoint's.
        model_kwargs: arguments for `timm.create_model`; each overrides the checkpoint's. `num_classes` and a square
            `img_size` are inferred from the tensors where they are not given.
        trust: whether the file may run code while it is unpickled.

    Raises:
        MptqError: the checkpoint cannot be read, its architecture cannot be told, its tensors do not fit, or the hub
            cannot be reached.
    """
    text, options = str(spec), LoadOptions(arch, model_kwargs or {}, trust)
    if text.startswith(_HUB):
        return _from_hub(text, options)
    checkpoint = read_checkpoint(Path(spec), trust=trust)
    if checkpoint.module is not None and arch is None:
        return _from_module(checkpoint, text, options)
    architecture = resolve_architecture(checkpoint, arch=arch, model_kwargs=model_kwargs)
    fitted = fit(architecture.name, shapes_of(checkpoint.state_dict), architecture.model_kwargs)
    tensors = _place(checkpoint, fitted.model, architecture.name)
    weights = sum(parameter.numel() for parameter in fitted.model.parameters())
    check_memory(f"the float model {architecture.name}", 4.0 * weights, "use a machine with more, or a smaller model")
    model: nn.Module = timm.create_model(architecture.name, **fitted.model_kwargs)
    model.load_state_dict(tensors)
    names, warnings = _fitting(checkpoint.class_names, model)
    return LoadedModel(
        model=_ready(model),
        arch=architecture.name,
        model_kwargs=fitted.model_kwargs,
        arch_source=architecture.source,
        preprocessing=preprocessing_of(model, checkpoint.pretrained_cfg, fitted.model_kwargs),
        class_names=names,
        source=text,
        notes=tuple(f"{name} {fitted.model_kwargs[name]} read from the weights" for name in fitted.inferred),
        options=options,
        warnings=warnings,
    )


def _from_hub(spec: str, options: LoadOptions) -> LoadedModel:
    name = check_name(spec.removeprefix(_HUB))
    if options.arch not in (None, name):
        raise MptqError(f"{spec} names its architecture; leave --arch {options.arch} out")
    if not is_model_pretrained(name):
        raise MptqError(f"timm has no pretrained weights for {name}; give a checkpoint")
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, **options.model_kwargs)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()
        raise MptqError(
            f"cannot load {spec} ({type(error).__name__}: {reason[0] if reason else 'no reason given'}); check the "
            "network, or download the checkpoint and give its path"
        ) from error
    names, warnings = _fitting(_own_names(model), model)
    return LoadedModel(
        model=_ready(model),
        arch=name,
        model_kwargs=dict(options.model_kwargs),
        arch_source="timm's hub",
        preprocessing=preprocessing_of(model, model_kwargs=options.model_kwargs),
        class_names=names,
        source=spec,
        notes=(),
        options=options,
        warnings=warnings,
    )


def _from_module(checkpoint: Checkpoint, source: str, options: LoadOptions) -> LoadedModel:
    module = checkpoint.module
    assert module is not None
    if options.model_kwargs:
        raise MptqError(f"{source} is a pickled module, built already; leave --model-kwargs out or pass --arch")
    names, warnings = _fitting(checkpoint.class_names or _own_names(module), module)
    return LoadedModel(
        model=_ready(module),
        arch=checkpoint.arch or type(module).__name__,
        model_kwargs=checkpoint.model_kwargs,
        arch_source="the pickled module",
        preprocessing=preprocessing_of(module, checkpoint.pretrained_cfg),
        class_names=names,
        source=source,
        notes=(),
        options=options,
        warnings=warnings,
    )


def _own_names(model: nn.Module) -> tuple[str, ...] | None:
    """Class names in the configuration that belongs to a model's weights."""
    config = getattr(model, "pretrained_cfg", None)
    return class_names_of(config.get("label_names")) if isinstance(config, Mapping) else None


def _fitting(names: tuple[str, ...] | None, model: nn.Module) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Class names, if there is one for every logit, and what to tell if not."""
    logits = getattr(model, "num_classes", None)
    if names is None or logits in (None, len(names)):
        return names, ()
    return None, (f"{len(names)} class names are left out: the model has {logits} logits",)


def _ready(model: nn.Module) -> nn.Module:
    return model.float().cpu().eval().requires_grad_(False)


def _place(checkpoint: Checkpoint, model: nn.Module, arch: str) -> dict[str, Tensor]:
    """The tensors under the model's own names.

    Raises:
        MptqError: tensors are missing, have no place, or have another shape.
    """
    tensors, wanted = checkpoint.state_dict, shapes_of(model.state_dict())
    if tensors.keys() != wanted.keys():
        tensors = _convert(tensors, model)
    stored = shapes_of(tensors)
    problems = [
        _list("missing", sorted(wanted.keys() - stored.keys())),
        _list("unexpected", sorted(stored.keys() - wanted.keys())),
        _list("misshapen", _misshapen(stored, wanted)),
    ]
    if any(problems):
        raise MptqError(
            f"{checkpoint.path} does not fit {arch}: {'; '.join(filter(None, problems))}. Pass the right --arch, or "
            '--model-kwargs such as {"num_classes": 10}'
        )
    return tensors


def _misshapen(stored: Shapes, wanted: Shapes) -> list[str]:
    return [
        f"{name} {list(stored[name])} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in stored and stored[name] != shape
    ]


def _convert(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename as timm does for checkpoints of other projects; unchanged where that fails or would resample."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        converted: dict[str, Tensor] = convert(dict(tensors), model)
    except (KeyError, ValueError, RuntimeError, AttributeError, IndexError, AssertionError):
        return tensors
    # Renaming and reshaping keep the number of values of every tensor; resampling to another size does not.
    resampled = Counter(map(Tensor.numel, converted.values())) - Counter(map(Tensor.numel, tensors.values()))
    return tensors if resampled else converted


def _list(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what} {', '.join(names[:_SHOWN])}{more}"
