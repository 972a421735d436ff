"""What `torch.export` says of a node beside its arguments: the module that runs it, and the sizes of its value."""

from typing import Any

import torch
from torch import fx

from mptq_export.capture.graph import Shape
from mptq_export.capture.user_source import SourceLine, of_text
from mptq_export.support.errors import MptqError


def module_path(node: fx.Node) -> str:
    """Dotted path of the module that ran the node, as timm names it."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def place_of(node: fx.Node) -> str:
    """Where a node comes from, for people: its module, and the line of the model's source where torch noted it."""
    line = line_of(node)
    return f"{module_path(node) or 'the model'}{f' at {line}' if line else ''}"


def line_of(node: fx.Node) -> SourceLine | None:
    """The line of the model's source that a node comes from; None where torch noted none."""
    return of_text(str(node.meta.get("stack_trace") or ""))


def shape_of(node: fx.Node) -> Shape:
    """Shape of an fx node for one image."""
    return shape_from(node.meta["val"].shape)


def shape_from(sizes: Any) -> Shape:
    """Replace the symbolic batch by one and remember its axis."""
    dims: list[int] = []
    axis: int | None = None
    for i, size in enumerate(sizes):
        if isinstance(size, torch.SymInt):
            dims.append(one_image(size))
            axis = i
        else:
            dims.append(int(size))
    return Shape(tuple(dims), axis)


def check_sizes(node: fx.Node) -> None:
    """Refuse a value with two axes that grow with the batch, or one that does not grow as the number of images does."""
    value = node.meta["val"]
    for tensor in value if isinstance(value, (tuple, list)) else (value,):
        sizes = [size for size in getattr(tensor, "shape", ()) if isinstance(size, torch.SymInt)]
        if len(sizes) > 1 or any(size_at(size, 5) != 5 * size_at(size, 1) for size in sizes):
            raise MptqError(
                f"{place_of(node)}: {node.target} gives a value of sizes "
                f"{' x '.join(map(str, tensor.shape))}, which do not grow as the number of images does: images of a "
                "batch are mixed here, and such a model cannot be exported; if this is attention, check the order of "
                "its axes (batch_first)"
            )


def one_image(size: torch.SymInt) -> int:
    """A size that depends on the batch, for a batch of one."""
    return size_at(size, 1)


def size_at(size: torch.SymInt, batch: int) -> int:
    """A size that depends on the batch, for so many images."""
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, batch)))
