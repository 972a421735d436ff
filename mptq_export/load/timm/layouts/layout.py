"""What is known of another project's names."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Rules = Sequence[tuple[str, str]]
"""Patterns and what takes their place, in this order."""


@dataclass(frozen=True)
class Layout:
    """The names of one project.

    Attributes:
        project: whose they are, for people.
        families: modules of `timm.models` whose names they are converted to. For another family, which has its own
            conversion, they are left as they are.
        recognises: whether a checkpoint's names are of this kind.
        convert: tensors under timm's names; those that it does not know keep theirs. Every value that comes out is one
            of the checkpoint's, or the sum of two, or a bias of zeros.
        models: what timm's names of these models look like, such as `*_clip_*`.
        resampled: the tensor that the original itself cuts or resamples whenever it runs, by the last part of its name.
        built: the architecture and its arguments, where the tensors show them all.
        prune: takes away what timm's model has and the original has not.
    """

    project: str
    families: tuple[str, ...]
    recognises: Callable[[Collection[str]], bool]
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    models: str = "*"
    resampled: str = ""
    built: Callable[[Mapping[str, Tensor]], tuple[str, dict[str, Any]]] | None = None
    prune: Callable[[nn.Module], None] | None = None


def renamed(name: str, rules: Rules) -> str:
    """A name after all rules."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
