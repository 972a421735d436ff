"""What an image has to be for a detector: its own transform says how pixels are normalised, the user the size."""

from collections.abc import Mapping
from typing import Any

from mptq_export.load.inputs import option_of
from mptq_export.load.module.inputs import OwnInput, own_input
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError


def detector_input(detector: Any, asked: ModelRequest) -> tuple[OwnInput, tuple[str, ...]]:
    """The input of a detector, and what the user must see of it.

    Raises:
        MptqError: nobody says the size, or the detector would pad images of it.
    """
    what, stated = type(detector).__name__, _stated(detector.transform)
    found = own_input(what, asked.inputs, stated, "the detector's transform")
    _, height, width = found.preprocessing.input_size
    step = int(detector.transform.size_divisible)
    if height % step or width % step:
        rounded = "x".join(str(-(-edge // step) * step) for edge in (height, width))
        raise MptqError(
            f"{what} pads images to multiples of {step} pixels, and {height}x{width} is none; give --img-size {rounded}"
        )
    said = asked.inputs.given()
    other = [part for part in ("mean", "std") if part in said and _all(said[part], stated[part]) != stated[part]]
    warnings = tuple(
        f"{option_of(part)} {','.join(map(str, said[part]))} overrules the {part} that {what} normalises images with, "
        f"{','.join(map(str, stated[part]))}: boxes are wrong unless it was trained so"
        for part in other
    )
    return found, warnings


def _stated(transform: Any) -> Mapping[str, Any]:
    """What the transform says, in timm's terms: the size too, where it has but one."""
    mean, std = (tuple(map(float, values)) for values in (transform.image_mean, transform.image_std))
    stated = {"mean": mean, "std": std, "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "corner"}
    if transform.fixed_size is not None:
        width, height = transform.fixed_size
        stated["input_size"] = (len(mean), int(height), int(width))
    elif transform.min_size[-1] == transform.max_size:
        stated["input_size"] = (len(mean), int(transform.max_size), int(transform.max_size))
    return stated


def _all(numbers: tuple[float, ...], like: tuple[float, ...]) -> tuple[float, ...]:
    return numbers * len(like) if len(numbers) == 1 else numbers
