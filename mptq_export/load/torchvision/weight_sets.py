"""torchvision's published weights: how each set's images are made, and which of them a file is."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchvision.models import get_model_weights

from mptq_export.support.hashes import sha256_of


@dataclass(frozen=True)
class WeightSet:
    """One set of published weights.

    Attributes:
        name: as torchvision has it.
        size: of the input in pixels.
        parts: the rest of its transform, in the terms of `load.inputs.PARTS`.
        classes: names of its classes.
        digest: the first digits of the file's SHA-256, which torchvision keeps in its name.
    """

    name: str
    size: int
    parts: dict[str, Any]
    classes: tuple[str, ...]
    digest: str


def weight_sets(arch: str) -> tuple[WeightSet, ...]:
    """Those of an architecture of torchvision's registry, the oldest first."""
    return tuple(map(_read, get_model_weights(arch)))


def _read(weights: Any) -> WeightSet:
    transform = weights.transforms()
    (crop,), (resized,) = transform.crop_size, transform.resize_size
    return WeightSet(
        name=weights.name,
        size=crop,
        parts={
            "mean": tuple(transform.mean),
            "std": tuple(transform.std),
            "interpolation": transform.interpolation.value,
            "crop_pct": crop_share(crop, resized),
            "crop_mode": "center",
        },
        classes=tuple(weights.meta["categories"]),
        digest=weights.url.rpartition("-")[2].partition(".")[0],
    )


def crop_share(crop: int, resized: int) -> float:
    """The largest share with which timm's transform, `floor(crop / share)`, resizes to just this size."""
    share = crop / resized
    while math.floor(crop / share) < resized:
        share = math.nextafter(share, 0)
    return share


def published(path: Path, sets: tuple[WeightSet, ...]) -> WeightSet | None:
    """The set that a file is, bit by bit, as far as the digits in its name on the server tell; None for others."""
    digest = sha256_of(path) if path.is_file() else ""
    return next((each for each in sets if each.digest and digest.startswith(each.digest)), None)
