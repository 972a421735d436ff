"""How a picture becomes the input of a folder's model, and who says each part of it."""

from dataclasses import dataclass, replace
from typing import Any

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.inputs import PARTS, InputOptions, option_of
from mptq_export.load.transformers.architecture import Architecture
from mptq_export.load.transformers.folder import CONFIG, PREPROCESSOR, Folder
from mptq_export.load.transformers.processor import (
    OtherGeometryError,
    Understood,
    load_processor,
    resized,
    understand,
)
from mptq_export.support.errors import MptqError

_UNCONFIRMED = "the default of transformers, which nothing in the folder confirms"
_GEOMETRY = ("img_size", "crop_pct", "crop_mode")


@dataclass(frozen=True)
class Input:
    """The preprocessing with its sources.

    Attributes:
        preprocessing: what is done to a picture.
        sources: who said each part, by name, for people.
        notes: what is good to know, a sentence each.
        warnings: what the user must see, a sentence each.
    """

    preprocessing: Preprocessing
    sources: dict[str, str]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def input_of(library: Any, folder: Folder, architecture: Architecture, options: InputOptions) -> Input:
    """The options first, then the folder's image processor.

    Args:
        library: transformers.
        folder: where the processor is.
        architecture: of the model.
        options: what the user says.

    Raises:
        MptqError: nothing says how pictures become the input, or what says it cannot be done here.
    """
    channels = int(getattr(architecture.vision, "num_channels", 3))
    if options.in_chans not in (None, channels):
        raise MptqError(
            f"--in-chans {options.in_chans}: {folder.path / CONFIG} says {channels}, and the weights are made for "
            "that; leave it out"
        )
    processor = load_processor(library, folder)
    if processor is None:
        return _without_processor(architecture, options, channels)
    where = f"{folder.path}/{folder.processor[0] if folder.processor else PREPROCESSOR}"
    warnings, size = [], options.img_size
    try:
        found = understand(processor, channels, where)
    except OtherGeometryError as refusal:
        if size is None:
            raise
        found = resized(processor, channels, size, where)
        warnings.append(
            f"all pictures are resized to {size[0]}x{size[1]}, whatever their shape: {found.name} does otherwise "
            f"({refusal.reason}), so pictures that are not of that size give other results than the library's"
        )
    named = where.rpartition("/")[2]
    sources = dict.fromkeys(("img_size", *PARTS), named) | {"in_chans": CONFIG}
    preprocessing = _overruled(found.preprocessing, options, channels)
    sources |= {part: option_of(part) for part in options.given()}
    return Input(preprocessing, sources, _notes(found), tuple(warnings))


def _without_processor(architecture: Architecture, options: InputOptions, channels: int) -> Input:
    """The user's word, and for the rest what most processors of the library do."""
    size = options.img_size or _own_size(architecture.vision)
    if options.mean is None or options.std is None or size is None:
        lacking = "--mean and --std" + ("" if size else " and --img-size")
        raise MptqError(
            f"{architecture.folder.path} has no {PREPROCESSOR}: nothing says how pictures become the input; put the "
            f"file of the model there, or pass {lacking}"
        )
    plain = Preprocessing((channels, *size), (0.5,) * channels, (0.5,) * channels, "bilinear", 1.0, "squash")
    sources = dict.fromkeys(PARTS, _UNCONFIRMED) | {"img_size": CONFIG, "in_chans": CONFIG}
    sources |= {part: option_of(part) for part in options.given()}
    return Input(_overruled(plain, options, channels), sources, (), ())


def _own_size(config: Any) -> tuple[int, int] | None:
    size = getattr(config, "image_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None


def _overruled(found: Preprocessing, options: InputOptions, channels: int) -> Preprocessing:
    """What the options say in the place of what was found; another geometry is one of timm's."""
    given: dict[str, Any] = options.given()
    parts = {part: given[part] for part in PARTS if part in given}
    for part in ("mean", "std"):
        if len(parts.get(part, ())) == 1:
            parts[part] *= channels
    if options.img_size is not None:
        parts["input_size"] = (channels, *options.img_size)
    # What is the same as before changes nothing: a command that repeats all parts gives the same file.
    same = all(parts.get(part, getattr(found, part)) == getattr(found, part) for part in ("input_size", *_GEOMETRY[1:]))
    return replace(found, **parts) if same else replace(found, **parts, resize_to=None)


def _notes(found: Understood) -> tuple[str, ...]:
    if found.levels == 0:
        return ()
    return (
        f"{found.name} resizes in floating point: its pixels differ from the 8-bit ones here by up to "
        f"{found.levels:.1f} of 255 levels",
    )
