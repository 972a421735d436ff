"""Ranges of what a softmax reads: what lies so far below the best of its row that it gets no code is cut.

Masks and position biases are constants on scores, far below 0 where they hide an element. In 8 bits they would leave no
steps for the scores themselves; cut, they hide as well.
"""

import math
from collections.abc import Mapping

import torch

from mptq_export.calibrate.statistics import Range
from mptq_export.capture.deferred import Value
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Reshape, Softmax
from mptq_export.quantize.activations.ranges import range_and_lowest_maximum
from mptq_export.recipe.schema import ActivationQuant

#: Codes of a softmax.
_CODES = 255


def score_range(graph: Graph, node: Node, value: Value) -> Range | None:
    """The range of the argument of a softmax that nothing else reads; None for other values.

    Args:
        graph: the graph.
        node: computes the value.
        value: float32, of all images.

    Returns:
        From as far below the smallest maximum of a row as leaves all elements there together half a code.
    """
    if not _for_softmax(graph, node):
        return None
    seen, lowest_best = range_and_lowest_maximum(value)
    return Range(max(seen.low, lowest_best - _silent(node.shape.dims[-1])), seen.high)


def constant_range(graph: Graph, node: Node, value: torch.Tensor, known: Mapping[str, ActivationQuant]) -> Range | None:
    """The range of a constant that is added to scores, whose rows have maximum 0; None for other constants.

    Args:
        graph: the graph.
        node: the constant.
        value: float32, the constant.
        known: the quantizers of all values before it, the scores among them.

    Returns:
        From as far below 0 as hides an element, whatever the scores are within the range of their codes.
    """
    sums = [reader for reader in graph.consumers()[node.name] if isinstance(reader.op, Add)]
    if len(sums) != 1 or len(graph.consumers()[node.name]) != 1 or not _for_softmax(graph, sums[0]):
        return None
    scores = [known.get(f"{graph.root(name).name}.output") for name in sums[0].inputs if name != node.name]
    if len(scores) != 1 or scores[0] is None:
        return None
    reach = (scores[0].high - scores[0].low) * scores[0].scale + _silent(sums[0].shape.dims[-1])
    return Range(max(float(value.min()), -reach), float(value.max()))


def _for_softmax(graph: Graph, node: Node) -> bool:
    """Whether softmaxes alone read a value, its rows as rows."""
    readers = graph.final_readers(node.name) or ()
    for reader, value in readers:
        chain = graph.path(value)[1]
        reshaped = all(isinstance(step.op, Reshape) and step.shape.dims[-1] == node.shape.dims[-1] for step in chain)
        if not isinstance(reader.op, Softmax) or not reshaped:
            return False
    return len(readers) > 0


def _silent(elements: int) -> float:
    """How far below the best of a row elements share half a code: `elements exp(-x) <= 1 / (2 * 255)`."""
    return math.log(2 * _CODES * elements)
