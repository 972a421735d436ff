"""Small graphs, and how the tests of rewrites look at them."""

from collections.abc import Callable

import torch
from tiny_models import captured

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Input, Op
from mptq_export.transform.prepare import PASSES

TOLERANCE = 2e-5


def ops(graph: Graph, op: type[Op]) -> list[Node]:
    return [node for node in graph if isinstance(node.op, op)]


def values(graph: Graph, x: torch.Tensor) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        evaluate(graph, x, lambda node, value: seen.update({node.name: value}))
    return seen


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool((first - second).abs().max() <= TOLERANCE * second.abs().max())


def until(kind: str, last: Callable[[Graph], Graph]) -> Graph:
    """The graph after all passes up to and including one."""
    graph = captured(kind)
    for rewrite in PASSES:
        graph = rewrite(graph).pruned()
        if rewrite is last:
            break
    return graph


def chain(*nodes: tuple[Op, tuple[int, ...], dict[str, torch.Tensor]], start: tuple[int, ...] = (1, 6, 8)) -> Graph:
    """A graph that runs one unary op after another on its input."""
    made = [Node(Input(), "input", (), Shape(start))]
    for i, (op, dims, params) in enumerate(nodes):
        made.append(Node(op, f"n{i}", (made[-1].name,), Shape(dims), params))
    return Graph(made, made[-1].name)
