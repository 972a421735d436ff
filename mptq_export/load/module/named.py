"""The tensors that a module returns, under the names that it gives them itself."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch

#: What a single tensor without a name is called here.
ALONE = "output"

_UNFIT = re.compile(r"[^\w.\-]")


def named_leaves(result: Any) -> dict[str, Any]:
    """What a module returned, by name: keys of dicts, fields of dataclasses and named tuples, else places.

    Args:
        result: a tensor (called `output`), or any nesting of dicts, dataclasses, tuples and lists. Names of what lies
            deeper follow with a dot (`aux.boxes`); places in a tuple without names are `output.0`, `output.1`.

    Returns:
        Tensors, and whatever else there is at their place; entries that are None are left out.
    """
    found: dict[str, Any] = {}
    for path, leaf in _leaves(result, ()):
        named = path if path and not path[0].isdigit() else (ALONE, *path)
        found[_UNFIT.sub("_", ".".join(named))] = leaf
    return found


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if value is None:
        return
    entries = _entries(value)
    if entries is None:
        yield path, value
        return
    for name, entry in entries:
        yield from _leaves(entry, (*path, name))


def _entries(value: Any) -> list[tuple[str, Any]] | None:
    """What a container holds; None for what is none."""
    if isinstance(value, torch.Tensor | str):
        return None
    if isinstance(value, Mapping):
        return [(str(key), entry) for key, entry in value.items()]
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Sequence):
        names = getattr(value, "_fields", range(len(value)))
        return [(str(name), entry) for name, entry in zip(names, value, strict=True)]
    return None


def called(forward: Callable[..., Any], x: torch.Tensor, argument: str | None) -> Any:
    """What a forward returns for images."""
    return forward(x) if argument is None else forward(**{argument: x})


def give_named(
    names: tuple[str, ...], argument: str | None, forward: Callable[..., Any], x: torch.Tensor
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Some of what a forward returns for images, by name: one tensor, or a tuple of them."""
    found = named_leaves(called(forward, x, argument))
    given = tuple(found[name] for name in names)
    return given if len(given) > 1 else given[0]
