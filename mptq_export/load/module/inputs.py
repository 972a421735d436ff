"""What an image has to be for a module that no library knows: the user says it, and nothing is guessed in silence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.inputs import PARTS, InputOptions, option_of
from mptq_export.support.errors import MptqError

#: How images are made to fit where nobody says it: the shorter side resized, the middle taken.
_USUAL: dict[str, Any] = {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center"}
_DEFAULT = "the default for modules of one's own, which nothing confirms"
_CHANNELS = 3


@dataclass(frozen=True)
class OwnInput:
    """The input of a module.

    Attributes:
        preprocessing: how an image becomes it.
        sources: who said each part, by name.
    """

    preprocessing: Preprocessing
    sources: dict[str, str]


def own_input(what: str, options: InputOptions, stated: Mapping[str, Any], source: str) -> OwnInput:
    """The input that the user, or else what lies beside the module, says.

    Args:
        what: the module, for messages.
        options: the user's.
        stated: in the terms of timm's `pretrained_cfg`: `input_size`, `mean`, `std` ...; others are ignored.
        source: where that stands, for people.

    Raises:
        MptqError: nobody says the size, or how pixels are normalised.
    """
    values, sources = dict(_USUAL), dict.fromkeys(_USUAL, _DEFAULT)
    known = {part: stated[part] for part in PARTS if stated.get(part) is not None}
    size = stated.get("input_size")
    if isinstance(size, list | tuple) and len(size) == 3:
        known |= {"in_chans": size[0], "img_size": (size[1], size[2])}
    said = options.given()
    for found, told in ((known, dict.fromkeys(known, source)), (said, {part: option_of(part) for part in said})):
        values |= found
        sources |= told
    _check_said(what, values)
    if "in_chans" not in values:
        listed = [len(values[part]) for part in ("mean", "std") if isinstance(values[part], list | tuple)]
        values["in_chans"] = max([count for count in listed if count > 1], default=_CHANNELS)
        sources["in_chans"] = _DEFAULT if max(listed, default=1) == 1 else "as many as means"
    channels, (height, width) = values.pop("in_chans"), values.pop("img_size")
    for part in ("mean", "std"):
        numbers = values[part] if isinstance(values[part], list | tuple) else (values[part],)
        values[part] = tuple(numbers) * (channels if len(numbers) == 1 else 1)
    preprocessing = Preprocessing.from_config({**values, "input_size": (channels, height, width)})
    return OwnInput(preprocessing, sources)


def _check_said(what: str, values: Mapping[str, Any]) -> None:
    if "img_size" not in values:
        raise MptqError(
            f"nothing says which images {what} takes; give --img-size (in Python: input_size=(3, height, width))"
        )
    missing = [part for part in ("mean", "std") if part not in values]
    if missing:
        raise MptqError(
            f"nothing says how the pixels of {what} are normalised; give {' and '.join(map(option_of, missing))} as in "
            "its training, of pixels in 0..1 (--mean 0 --std 1 where they are taken as they are)"
        )
