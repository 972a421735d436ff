"""Rotary position embeddings become one op: `y = x cos + swap(x) sin`.

Implementations differ (halves or neighbours as planes, rows of prefix tokens left alone, signs here or there), but
what they compute is linear in x and mixes two channels of a row at most. So the tables are not read from a pattern of
ops: they are what the expression gives for rows that are one in one half of the channels and zero in the other.
"""

from collections.abc import Iterator

import torch

from mptq_export.capture.evaluate import compute, swapped
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Concat, Constant, Matmul, Movement, Mul, Rotary

_Expression = Add | Mul | Concat | Movement

#: Largest difference on a random row that float32 rounding may explain.
_SAME = 1e-5


def fold_rotary(graph: Graph) -> Graph:
    """Replace every rotation that a matmul reads.

    Preserves: the output.
    """
    for matmul in [node for node in graph if isinstance(node.op, Matmul)]:
        for name in matmul.inputs:
            end = graph.root(name)
            if isinstance(end.op, Add | Concat) and end.shape.batch_axis == 0:
                found = next(_rotations(graph, end), None)
                graph = graph if found is None else graph.updated({end.name: found})
    return graph


def _rotations(graph: Graph, end: Node) -> Iterator[Node]:
    """The op that `end` can be replaced by, for every value that it is a rotation of."""
    order = list(graph.nodes)
    inside, pending = {end.name}, [end.name]
    while pending:
        for name in graph[pending.pop()].inputs:
            if name not in inside:
                inside.add(name)
                if isinstance(graph[name].op, _Expression):
                    pending.append(name)
    steps = [graph[name] for name in order if name in inside]
    for source in reversed(steps[:-1]):
        if source.shape == end.shape and not isinstance(source.op, Add | Mul | Concat | Constant):
            for pairs in (False, True):
                rotation = _rotation(steps, source, end, pairs=pairs)
                if rotation is not None:
                    yield rotation


def _rotation(steps: list[Node], source: Node, end: Node, *, pairs: bool) -> Node | None:
    width = end.shape.dims[-1]
    if width % 2:
        return None
    channel = torch.arange(width)
    first = ((channel % 2 if pairs else channel // (width // 2)) == 0).float()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(source.shape.at(1), generator=generator)
    ones = torch.ones_like(x)
    try:
        low, high, found = (_value(steps, source, end, probe) for probe in (ones * first, ones * (1 - first), x))
    except KeyError:
        return None  # it depends on more than this value
    cos = low * first + high * (1 - first)
    sin = low * (1 - first) + high * first
    expected = x * cos + swapped(x, pairs=pairs) * sin
    if not float((found - expected).abs().max()) <= _SAME or not bool(sin.any()):
        return None
    params = {"cos": _small(cos), "sin": _small(sin)}
    return Node(Rotary(pairs=pairs), end.name, (source.name,), end.shape, params)


def _value(steps: list[Node], source: Node, end: Node, probe: torch.Tensor) -> torch.Tensor:
    """`end` from `source`; KeyError where another value is needed."""
    values = {source.name: probe}
    for node in steps:
        if isinstance(node.op, Constant):
            values[node.name] = node.params["value"]
    for node in steps[[node.name for node in steps].index(source.name) + 1 :]:
        if isinstance(node.op, _Expression) and all(name in values for name in node.inputs):
            values[node.name] = compute(node, [values[name] for name in node.inputs])
    return values[end.name]


def _small(table: torch.Tensor) -> torch.Tensor:
    """Without the axes along which nothing changes, from the front."""
    table = table[0]
    while table.dim() > 2 and bool((table == table[:1]).all()):
        table = table[0]
    return table.contiguous()
