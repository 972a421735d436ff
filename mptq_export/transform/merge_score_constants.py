"""All constants that are added to scores, in one sum: where all tensors have codes, each sum rounds."""

from dataclasses import replace

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Constant, Softmax
from mptq_export.capture.score_path import score_path


def merge_score_constants(graph: Graph) -> Graph:
    """Add the constants of every softmax (a position bias, a mask of shifted windows) in the last of its sums.

    Preserves: the output. Constants stay apart where images would meet different parts of their sum, or where something
    else reads what lies between.
    """
    for softmax in [node for node in graph if isinstance(node.op, Softmax)]:
        steps = score_path(graph, graph[softmax.name])[1]
        sums = [step for step in steps if isinstance(step.op, Add)]
        if len(sums) > 1 and all(_one_reader(graph, step) for step in steps):
            graph = _merged(graph, steps[steps.index(sums[0]) : steps.index(sums[-1]) + 1])
    return graph.pruned()


def _one_reader(graph: Graph, step: Node) -> bool:
    return len(graph.consumers()[step.name]) == 1 and step.name != graph.output


def _merged(graph: Graph, steps: list[Node]) -> Graph:
    """The graph in which the last of these steps adds what all of them add."""
    last, scores = steps[-1], graph[_live(graph, steps[0])]
    if any(isinstance(step.op, Add) and step.shape != graph[_live(graph, step)].shape for step in steps):
        return graph  # a sum repeats the scores
    total = torch.zeros(scores.shape.at(1), dtype=torch.float64)
    for step in steps:
        total = compute(step, [_double(graph, name, total) for name in step.inputs])
    axis = last.shape.batch_axis
    if axis is not None and last.shape.dims[axis] != 1:
        part = total.narrow(axis, 0, 1)
        if not torch.equal(part.expand_as(total), total):
            return graph
        total = part
    constant = Node(Constant(), f"{last.name}.all_rows", (), Shape(tuple(total.shape), None), {"value": total.float()})
    skipped = {step.name: _live(graph, step) for step in steps[:-1] if isinstance(step.op, Add)}
    swapped = tuple(name if name == _live(graph, last) else constant.name for name in last.inputs)
    return graph.expanded({last.name: [constant, replace(last, inputs=swapped)]}).bypassed(skipped)


def _live(graph: Graph, step: Node) -> str:
    return next(name for name in step.inputs if not isinstance(graph[name].op, Constant))


def _double(graph: Graph, name: str, total: torch.Tensor) -> torch.Tensor:
    node = graph[name]
    return node.params["value"].double() if isinstance(node.op, Constant) else total
