"""Parts of a program that torch keeps as graphs of their own: what ran under `autocast` or `no_grad` inside the model.

On the CPU in float32 they compute what they would without it.
"""

from typing import Any

import torch
from torch import fx

_OPS = (torch.ops.higher_order.wrap_with_autocast, torch.ops.higher_order.wrap_with_set_grad_enabled)


def region_of(node: fx.Node) -> tuple[list[fx.Node], dict[fx.Node, Any]] | None:
    """The nodes of the region that a node runs, and what it passes for each of their placeholders; None for others."""
    if node.target not in _OPS:
        return None
    place = next(i for i, arg in enumerate(node.args) if isinstance(arg, fx.Node) and arg.op == "get_attr")
    owner, held = node.graph.owning_module, node.args[place]
    assert owner is not None and isinstance(held, fx.Node)
    inner = list(owner.get_submodule(str(held.target)).graph.nodes)  # type: ignore[union-attr, arg-type]
    placeholders = [each for each in inner if each.op == "placeholder"]
    return inner, dict(zip(placeholders, node.args[place + 1 :], strict=True))
