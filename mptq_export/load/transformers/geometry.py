"""What an image processor's settings say in the terms of `Preprocessing`: candidates, which `processor.py` tries."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError

_LEVELS = 255
_WARPS_FROM = 384
"""From this size on, ConvNeXT's processor does not crop."""
_LEVIT = 256 / 224
"""LeViT's processor resizes to so much more than it keeps."""


@dataclass(frozen=True)
class Geometry:
    """How pictures of any shape become those of one size.

    Attributes:
        size: (height, width) of the result.
        resize_to: see `Preprocessing`; None where height and width are resized to the result and nothing is cropped.
    """

    size: tuple[int, int]
    resize_to: tuple[int, ...] | None

    def of(self, colours: "Colours", interpolation: str) -> Preprocessing:
        """The whole preprocessing."""
        crop = min(self.size) / min(self.resize_to) if self.resize_to else 1.0
        return Preprocessing(
            input_size=(len(colours.mean), *self.size),
            mean=colours.mean,
            std=colours.std,
            interpolation=interpolation,
            crop_pct=min(crop, 2.0),
            crop_mode="center" if self.resize_to and len(self.resize_to) == 1 else "squash",
            resize_to=self.resize_to,
        )


@dataclass(frozen=True)
class Colours:
    """What is done to 8-bit values: `(pixel / 255 - mean) / std`.

    Attributes:
        mean: a number a channel.
        std: a number a channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def geometries(settings: Mapping[str, Any]) -> list[Geometry]:
    """What the settings may mean, the first to be tried first; empty where the size depends on the picture.

    Args:
        settings: of an image processor, as its `to_dict` gives them.
    """
    if not settings.get("do_resize"):
        return []
    size = _edges(settings.get("size"))
    crop = _edges(settings.get("crop_size")) if settings.get("do_center_crop") else {}
    cropped = (crop["height"], crop["width"]) if {"height", "width"} <= set(crop) else None
    found: list[Geometry] = []
    if {"height", "width"} <= set(size):
        resized = size["height"], size["width"]
        found.append(Geometry(resized, None) if cropped in (None, resized) else Geometry(cropped or resized, resized))
    edge = size.get("shortest_edge")
    if edge is not None and "longest_edge" not in size:
        if cropped:
            found.append(Geometry(cropped, (edge,)))
            found.append(Geometry(cropped, (int(_LEVIT * edge),)))
        part = settings.get("crop_pct")
        square = edge, edge
        if isinstance(part, int | float) and 0 < part <= 1:
            found.append(Geometry(square, None) if edge >= _WARPS_FROM else Geometry(square, (int(edge / part),)))
    return found


def colours(settings: Mapping[str, Any], channels: int) -> Colours:
    """Rescaling and normalising in one, exactly: the factor and an offset go into mean and std.

    Args:
        settings: of an image processor.
        channels: of the model's input.

    Raises:
        MptqError: there are not as many numbers as channels.
    """
    factor = float(settings.get("rescale_factor") or 1 / _LEVELS) if settings.get("do_rescale") else 1.0
    normalised = bool(settings.get("do_normalize"))
    mean = _numbers("image_mean", settings.get("image_mean") if normalised else 0.0, channels)
    std = _numbers("image_std", settings.get("image_std") if normalised else 1.0, channels)
    scale = 1.0 if math.isclose(factor * _LEVELS, 1.0, rel_tol=1e-6) else factor * _LEVELS
    return Colours(tuple(value / scale for value in mean), tuple(value / scale for value in std))


def interpolation(settings: Mapping[str, Any]) -> str:
    """Name of the resampling filter.

    Raises:
        MptqError: PIL has no such filter.
    """
    stated = settings.get("resample")
    try:
        return Image.Resampling(2 if stated is None else int(stated)).name.lower()
    except (ValueError, TypeError) as error:
        raise MptqError(
            f"the image processor resamples with {str(stated)[:40]!r}, which PIL does not have; overrule it with "
            "--interpolation"
        ) from error


def _edges(size: Any) -> dict[str, int]:
    """Edges in pixels that are said; a size is height and width, or the shorter side, or limits."""
    said = dict(size) if isinstance(size, Mapping) else {}
    return {key: int(value) for key, value in said.items() if isinstance(value, int | float) and value > 0}


def _numbers(part: str, value: Any, channels: int) -> tuple[float, ...]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) == 1:
        values *= channels
    if len(values) != channels or not all(isinstance(each, int | float) for each in values):
        option = "--mean" if part == "image_mean" else "--std"
        raise MptqError(
            f"the image processor's {part} {str(value)[:80]} is not {channels} numbers, one a channel of the model; "
            f"overrule it with {option}"
        )
    return tuple(float(each) for each in values)
