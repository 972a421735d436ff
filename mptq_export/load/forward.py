"""Another forward for a model that keeps its modules, its weights and their names."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
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
    return with_forward(model, partial(partial, _picked, tuple(places)))


def with_forward(model: nn.Module, make: Callable[[Callable[..., Any]], "partial[Any]"]) -> nn.Module:
    """A shallow copy of a model that computes something else with the same modules and weights.

    Args:
        model: it stays as it is.
        make: the new forward, from the old one of the copy; a `functools.partial` of a plain function, which a deep
            copy copies as well, and whose source `torch.export` finds.
    """
    changed = copy.copy(model)
    changed.forward = make(changed.forward)
    return changed


def _picked(places: tuple[int, ...], forward: Callable[..., Any], x: torch.Tensor) -> Any:
    """Some tensors of what a forward returns for images."""
    found = tensors(forward(x))
    given = tuple(found[place] for place in places)
    return given if len(given) > 1 else given[0]
