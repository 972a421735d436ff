"""Another forward for a model that keeps its modules, its weights and their names."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


def tensors(result: Any) -> list[torch.Tensor]:
    """All tensors of what a model returned (a tensor, or any nesting of them), in order."""
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def picking(model: nn.Module, places: Sequence[int]) -> nn.Module:
    """A model that gives only some of another's tensors; it shares all modules and weights, which keep their names.

    Args:
        model: gives several tensors, in any nesting; it stays as it is.
        places: which of them, in order.

    Returns:
        A copy whose forward gives one tensor, or a tuple of them.
    """
    return with_forward(model, _Picked(model.forward, tuple(places)))


def with_forward(model: nn.Module, forward: Callable[..., Any]) -> nn.Module:
    """A shallow copy of a model that computes something else with the same modules and weights."""
    changed = copy.copy(model)
    changed.forward = forward
    return changed


class _Picked:
    """A forward that gives some tensors of another's; a class, so that a deep copy of a model copies it as well."""

    def __init__(self, forward: Callable[..., Any], places: tuple[int, ...]) -> None:
        self.forward = forward
        self.places = places

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor | tuple[torch.Tensor, ...]:
        found = tensors(self.forward(*args, **kwargs))
        picked = tuple(found[place] for place in self.places)
        return picked if len(picked) > 1 else picked[0]
