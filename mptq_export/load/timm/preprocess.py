"""The preprocessing that belongs to a model, and who says each part of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timm.data import resolve_data_config
from torch import nn

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.inputs import PARTS, option_of, short
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Stated:
    """What somebody says of the input.

    Attributes:
        source: who, for people; `option` for the user.
        parts: values by name, of `inputs.PARTS`.
    """

    source: str
    parts: Mapping[str, Any]


@dataclass(frozen=True)
class Resolved:
    """The preprocessing with its sources.

    Attributes:
        preprocessing: what is done to an image.
        sources: who said `PARTS`, by name, for people.
        notes: which parts are not those of the architecture's own configuration, a sentence.
    """

    preprocessing: Preprocessing
    sources: dict[str, str]
    notes: tuple[str, ...]


def resolve_input(
    model: nn.Module,
    stated: Sequence[Stated],
    default: str,
    model_kwargs: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
    *,
    confirmed: bool = False,
) -> Resolved:
    """The model's preprocessing, where each part comes from who is believed first.

    Args:
        model: a timm model; one without `pretrained_cfg` gets timm's defaults.
        stated: the first to be believed first; the model's own configuration comes last.
        default: what that configuration is called, for people.
        confirmed: whether it belongs to the weights, not to the architecture alone.
        model_kwargs: what the model was built with.
        size: (height, width) of the input; None: the model's own.

    Raises:
        MptqError: a configuration does not make sense, or nothing says mean and std of so many channels.
    """
    said = {part: each for each in reversed(stated) for part in each.parts}
    values = {part: each.parts[part] for part, each in said.items()}
    for part in ("mean", "std"):
        if part in values and not isinstance(values[part], list | tuple):
            values[part] = (values[part],)
    own_source = default if confirmed else unconfirmed(default)
    sources = {part: _named(part, said[part].source) if part in said else own_source for part in PARTS}
    found = preprocessing_of(model, values, model_kwargs, size)
    own = preprocessing_of(model, {part: getattr(found, part) for part in ("mean", "std")}, model_kwargs, size)
    config = getattr(model, "pretrained_cfg", {})
    other = [
        f"{part} {short(theirs)}"
        for part in values
        if (theirs := config.get(part) if part in ("mean", "std") else getattr(own, part))
        and _comparable(theirs) != _comparable(getattr(found, part))
    ]
    return Resolved(found, sources, (f"{default} would have been {', '.join(other)}",) if other else ())


def preprocessing_of(
    model: nn.Module,
    override: Mapping[str, Any] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
) -> Preprocessing:
    """The model's preprocessing, for the image size that it was built with.

    Args:
        model: a timm model; one without `pretrained_cfg` gets timm's defaults.
        override: values that take the place of those in `pretrained_cfg`.
        model_kwargs: what the model was built with; `img_size` counts where the model itself does not tell its own.
        size: (height, width), where it is not that of the model.

    Raises:
        MptqError: the configuration does not make sense, or does not say mean and std of the model's channels.
    """
    asked = {**getattr(model, "pretrained_cfg", {}), **(override or {})}
    try:
        config = dict(resolve_data_config(pretrained_cfg=asked))
        channels, *own = config["input_size"]
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise MptqError(
            f"preprocessing: the pretrained_cfg does not make sense ({type(error).__name__}: {str(error)[:200]}); save "
            "the checkpoint with the right one, or without"
        ) from error
    asked_size = (model_kwargs or {}).get("img_size")
    if asked_size is not None:
        own = [asked_size] * 2 if isinstance(asked_size, int) else list(asked_size)
    channels = (model_kwargs or {}).get("in_chans") or channels
    embed = getattr(model, "patch_embed", None)
    if embed is not None:
        first = next((module for module in embed.modules() if isinstance(module, nn.Conv2d)), None)
        if first is not None:
            channels = first.in_channels
        own = getattr(embed, "img_size", None) or own
    config["input_size"] = (channels, *(size or own))
    for part in ("mean", "std"):
        config[part] = _for_channels(part, config[part], channels, part in (override or {}))
    return Preprocessing.from_config(config)


def _for_channels(part: str, values: Any, channels: int, is_said: bool) -> Any:
    """One value a channel; a single one stands for all.

    Raises:
        MptqError: there are others, or only those of an architecture with other channels.
    """
    if not isinstance(values, list | tuple) or len(values) == channels:
        return values  # what is no list is refused with all else that has the wrong type
    if len(values) == 1:
        return tuple(values) * channels
    if is_said:
        raise MptqError(
            f"{part} has {len(values)} numbers, the model {channels} channel{'s' * (channels > 1)}; overrule it with "
            f"{option_of(part)}: one number, or one for each channel"
        )
    raise MptqError(
        f"the model has {channels} channel{'s' * (channels > 1)}, and nothing says their {part}; pass "
        f"{option_of(part)}: one number, or one for each channel"
    )


def unconfirmed(default: str) -> str:
    """How the source of a value reads that only an architecture's configuration says."""
    return f"{default}, which nothing in the checkpoint confirms"


def _named(part: str, source: str) -> str:
    return option_of(part) if source == "option" else source


def _comparable(value: Any) -> Any:
    return tuple(map(float, value)) if isinstance(value, list | tuple) else value
