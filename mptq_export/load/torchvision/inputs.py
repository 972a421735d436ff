"""How images become the input of a torchvision model, and who says each part of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.inputs import PARTS, InputOptions, option_of
from mptq_export.load.torchvision.weight_sets import WeightSet, published, weight_sets

#: What torchvision's transform for classification does where nobody says otherwise.
_GENERAL: dict[str, Any] = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bilinear",
    "crop_pct": 0.875,
    "crop_mode": "center",
}


@dataclass(frozen=True)
class TorchvisionInput:
    """The input of one model.

    Attributes:
        preprocessing: what is done to an image.
        sources: who said each part, by name, for people.
        published: the published weights that the file is; None where it is other ones.
        notes: what was inferred, a sentence each.
        warnings: what the user must see, a sentence each.
    """

    preprocessing: Preprocessing
    sources: dict[str, str]
    published: WeightSet | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def default_size(arch: str | None) -> int | None:
    """The size of the images that torchvision trained an architecture on; None where it is none of its own."""
    return None if arch is None else weight_sets(arch)[0].size


def resolve(
    path: Path, arch: str | None, size: tuple[tuple[int, int], str], said: Mapping[str, Any], options: InputOptions
) -> TorchvisionInput:
    """The preprocessing: an option comes first, then the file's own, then that of the published weights.

    Args:
        path: the checkpoint.
        arch: of torchvision's registry; None where it is none of it.
        size: (height, width) of the input, and who says so.
        said: what the file says of it, by name.
        options: what the user says.
    """
    sets = () if arch is None else weight_sets(arch)
    exact = published(path, sets)
    fitting = [each for each in sets if (each.size, each.size) == size[0]] or list(sets[:1])
    taken = exact or next(iter(fitting), None)
    default = "torchvision's transform" if taken is None else f"torchvision's {arch}, {taken.name}"
    default += "" if exact else ", which nothing in the checkpoint confirms"
    given = options.given()
    values, sources = {}, {"img_size": size[1], "in_chans": "torchvision"}
    for part in PARTS:
        layers = ((given, option_of(part)), (said, "the checkpoint's pretrained_cfg"))
        found = next(((layer[part], source) for layer, source in layers if layer.get(part) is not None), None)
        own = _GENERAL if taken is None else taken.parts
        values[part], sources[part] = (own[part], default) if found is None else found
        if part in ("mean", "std"):
            values[part] = tuple(values[part]) * (3 if len(tuple(values[part])) == 1 else 1)
    warned = [] if exact else _undecided(arch, fitting, sources, default)
    notes = [] if exact is None else [f"the file is torchvision's {arch} {exact.name}, by its SHA-256"]
    preprocessing = Preprocessing.from_config({**values, "input_size": (3, *size[0])})
    return TorchvisionInput(preprocessing, sources, exact, tuple(notes), tuple(warned))


def _undecided(arch: str | None, fitting: list[WeightSet], sources: Mapping[str, str], default: str) -> list[str]:
    """A sentence where published sets of this size want other inputs, and only the default says which it is."""
    other = [part for part in PARTS if len({each.parts[part] for each in fitting}) > 1 and sources[part] == default]
    if not other:
        return []
    listed = "; ".join(
        f"{each.name} {each.parts['interpolation']}, crop {each.parts['crop_pct']:.4g}" for each in fitting
    )
    return [
        f"weights of {arch} for {fitting[0].size}x{fitting[0].size} want different inputs ({listed}), and nothing in "
        f"the file tells which these are: the first is taken; overrule it with {' and '.join(map(option_of, other))}"
    ]
