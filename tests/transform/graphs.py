"""Small graphs, and how the tests of rewrites look at them."""

from collections.abc import Callable

import torch
from tiny_models import captured

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.transform.prepare import PASSES

TOLERANCE = 2e-5


def ops(graph: Graph, op: str) -> list[Node]:
    return [node for node in graph if node.op == op]


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


def chain(*nodes: tuple[str, tuple[int, ...], dict], start: tuple[int, ...] = (1, 6, 8)) -> Graph:
    """A graph that runs one unary op after another on its input."""
    made = [Node("input", "input", (), Shape(start))]
    for i, (op, dims, attrs) in enumerate(nodes):
        params = {k: attrs.pop(k) for k in ("weight", "bias", "value") if k in attrs}
        made.append(Node(op, f"n{i}", (made[-1].name,), Shape(dims), attrs, params))
    return Graph(made, made[-1].name)
