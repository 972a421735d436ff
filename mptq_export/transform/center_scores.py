"""Softmax does not see a shift of a row: constants on a score path lose the maximum of each of their rows.

What is left says how far an element is below its row's best. A constant that is the same all along a row falls away,
and minus infinity becomes a finite number, so far below that its exponential is 0 as well.
"""

import math
from dataclasses import replace

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Constant, Permute, Reshape, Roll, Slice, Softmax
from mptq_export.capture.score_path import score_path
from mptq_export.support.errors import MptqError

#: Largest change of a softmax that rounding a constant to float32 again may explain.
_TOLERANCE = 1e-6

#: In the place of minus infinity, which no statistic could say anything of: exp is 0 far above.
_MASKED = -1e9


def center_scores(graph: Graph) -> Graph:
    """Take every row's maximum out of the constants that are added to scores (position biases, masks).

    Preserves: every softmax, but for what float32 loses beside large constants. So it is checked here, in float64.

    Raises:
        MptqError: a softmax changed (a defect of this package).
    """
    for softmax in [node for node in graph if isinstance(node.op, Softmax)]:
        expected = _softmax(graph, softmax)
        for step in reversed(score_path(graph, softmax)[1]):
            if isinstance(step.op, Add) and _reaches_only(graph, step, softmax):
                graph = _centred(graph, step)
        found = _softmax(graph, graph[softmax.name])
        if not torch.allclose(found, expected, rtol=0, atol=_TOLERANCE, equal_nan=True):
            raise MptqError(f"{softmax.name}: the maxima of its constants changed the softmax; please report it")
    return graph.pruned()


def _reaches_only(graph: Graph, step: Node, softmax: Node) -> bool:
    """Whether the rows of a sum arrive at a softmax, and nowhere else, each as a row."""
    node = step
    while node.name != softmax.name:
        readers = graph.consumers()[node.name]
        if len(readers) != 1 or node.name == graph.output or not _keeps_rows(node, readers[0]):
            return False
        node = readers[0]
    return True


def _keeps_rows(node: Node, reader: Node) -> bool:
    """Whether every row that a reader gives has elements of one row that it reads."""
    if isinstance(reader.op, Reshape):
        return reader.shape.dims[-1] == node.shape.dims[-1]
    if isinstance(reader.op, Permute):
        return reader.op.perm[-1] == len(node.shape.dims) - 1
    return isinstance(reader.op, Slice | Roll | Add | Softmax)


def _centred(graph: Graph, step: Node) -> Graph:
    """The graph in which the constant of a sum has 0 as the maximum of every row."""
    live, constant = sorted((graph[name] for name in step.inputs), key=lambda node: isinstance(node.op, Constant))
    value = constant.params["value"]
    one_a_row = value.dim() == 0 or value.shape[-1] != step.shape.dims[-1]
    highest = value if one_a_row else value.amax(-1, keepdim=True)
    partly = highest.isfinite()  # a row that is masked altogether stays what it is
    rows = value - torch.where(partly, highest, 0)
    rows = torch.where(partly & (rows == -math.inf), _MASKED, rows)
    if not rows.any() and live.shape.dims == step.shape.dims:
        return graph.bypassed({step.name: live.name})
    own = replace(constant, name=f"{step.name}.rows", params={"value": rows})
    changed = replace(step, inputs=tuple(own.name if name == constant.name else name for name in step.inputs))
    nodes: list[Node] = []
    for node in graph:
        nodes += (own, changed) if node.name == step.name else (node,)
    return Graph(nodes, graph.output)


def _softmax(graph: Graph, softmax: Node) -> torch.Tensor:
    """A softmax of random scores of one image, in float64."""
    scores, steps = score_path(graph, softmax)
    x = torch.randn(scores.shape.at(1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for step in steps:
        inputs = [
            graph[name].params["value"].double() if isinstance(graph[name].op, Constant) else x for name in step.inputs
        ]
        x = compute(step, inputs)
    return x.softmax(-1)
