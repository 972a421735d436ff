"""A kind of source: who writes it, and what has to come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Exports:
    """A source that has to be read, and read rightly.

    Attributes:
        given: what is typed after ``mptq-export``: a path below the folder, or ``package.module:function``.
        outputs: the original's float outputs, by their names, of normalised images float32 [B, C, H, W].
        size: channels, height and width of those.
        options: what is said besides, as keyword arguments of `mptq_export.load`.
        mean: of pixels in 0..1, a number a channel, that the model has to be loaded with.
        std: standard deviation of the same.
        class_names: of the logits, where the source has them.
        from_python: whether `given` is a function that makes a module, which goes to `load` itself.
        importable: whether the reader can import what lies in the folder, as with `PYTHONPATH=.`.
    """

    given: str
    outputs: Callable[[Tensor], Mapping[str, Tensor]]
    size: Size = (3, 32, 32)
    options: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    class_names: tuple[str, ...] | None = None
    from_python: bool = False
    importable: bool = False


@dataclass(frozen=True)
class Refused:
    """A source that has to be refused in one line.

    Attributes:
        given: as in `Exports`.
        says: regular expressions, each of which is in the line: what it is, and the way out.
        options: as in `Exports`.
    """

    given: str
    says: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        name: in the table, for people.
        libraries: the distributions that write it, the first in the first place; all have to be installed.
        build: writes it into an empty folder.
    """

    name: str
    libraries: tuple[str, ...]
    build: Callable[[Path], Exports | Refused]


def fixed_inputs(size: Size, mean: tuple[float, ...], std: tuple[float, ...], count: int = 3) -> Tensor:
    """Images that are always the same: coarse patches with fine noise, normalised; float32 [count, C, H, W]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, size[0], 4, 4, generator=generator)
    fine = torch.rand(count, *size, generator=generator)
    pixels = 0.7 * torch.nn.functional.interpolate(coarse, size[1:], mode="bilinear") + 0.3 * fine
    parts = (torch.tensor(part, dtype=torch.float32).reshape(-1, 1, 1) for part in (mean, std))
    return (pixels - next(parts)) / next(parts)
