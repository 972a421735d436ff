"""Reading the arguments of ATen nodes."""

from typing import Any

from torch import fx

from mptq_export.capture.metadata import module_path


def arguments(node: fx.Node) -> list[Any]:
    """Positional arguments, padded with None for those left out."""
    return [*node.args, *[None] * 8]


def keyword(node: fx.Node, name: str, otherwise: Any = None) -> Any:
    """An argument that ATen takes by name alone."""
    return node.kwargs.get(name, otherwise)


def name_of(node: fx.Node, op: str) -> str:
    """Name of a canonical node: the module that runs the ATen node, and the op."""
    path = module_path(node)
    return f"{path}.{op}" if path else op


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis % rank
