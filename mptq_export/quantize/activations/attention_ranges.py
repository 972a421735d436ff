"""Ranges of queries, keys and values by the error of the attention that they give.

The error of a key is not what it changes of that key, but of the softmax: the few largest keys are those that most
queries attend to, and a range that cuts them, as the smallest error of all keys asks for, changes every row.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from mptq_export.capture.deferred import Deferred, Value, rows_of
from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Matmul, Softmax
from mptq_export.capture.score_path import score_path
from mptq_export.quantize.activations.score_bias import ScoreConstants
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.recipe.schema import ActivationQuant

#: Images that errors are measured on, and scores of all of them.
_IMAGES = 8
_SCORES = 1 << 20

#: Of the candidates, in order of their range, every so many is measured first, then those beside the best.
_APART = 4

ErrorOf = Callable[[torch.Tensor], float]
"""The error of an operand's sampled values after quantization."""


@dataclass(frozen=True)
class AttentionSample:
    """What some images' attention is computed from.

    Attributes:
        operands: float64 values of the two factors of a matmul, of some images (and some queries).
        weights: gives what the softmax makes of the product of two factors; the product itself behind a softmax.
        behind_softmax: whether the first factor is what a softmax gives; it is divided by its sums already.
    """

    operands: tuple[torch.Tensor, torch.Tensor]
    weights: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    behind_softmax: bool

    @staticmethod
    def of(graph: Graph, matmul: Node, values: Mapping[str, Value]) -> "AttentionSample | None":
        """Draw, the same images every time.

        Args:
            graph: the graph with all transforms so far.
            matmul: makes scores, or reads a softmax.
            values: what the quantized model gives, of all images, by name.

        Returns:
            None where the matmul is neither, or where an operand is not of the images.
        """
        found = [values.get(name) for name in matmul.inputs]
        shapes = [graph[name].shape for name in matmul.inputs]
        if any(value is None for value in found) or any(shape.batch_axis != 0 for shape in shapes):
            return None
        behind = isinstance(graph[matmul.inputs[0]].op, Softmax)
        softmax = None if behind else _softmax_behind(graph, matmul)
        if not behind and softmax is None:
            return None
        constants = None if softmax is None else ScoreConstants.of(graph, softmax)
        each = math.prod((graph[matmul.inputs[0]] if behind else matmul).shape.at(1))
        whole_rows = constants is not None and bool(constants.steps)
        images = len_of(found[0], shapes[0].dims[0])
        count = min(images, max(1, min(_IMAGES, _SCORES // each)) if whole_rows else _IMAGES)
        stride = 1 if whole_rows else max(1, math.ceil(each * count / _SCORES))
        first, second = (
            torch.cat([_of_image(value, i * images // count, shape.dims[0]) for i in range(count)]).double()
            for value, shape in zip(found, shapes, strict=True)
            if value is not None
        )
        if behind:
            first = first / first.sum(-1, keepdim=True)
        return AttentionSample((first[..., ::stride, :], second), _weights(matmul, constants), behind)

    def error_of(self, position: int, other: ActivationQuant | None) -> ErrorOf:
        """What measures one factor; the other one is quantized where its quantizer is known.

        Args:
            position: 0 or 1.
            other: the quantizer of the other factor.
        """
        exact = self.weights(*self.operands)
        beside = self.operands[1 - position]
        if other is not None:
            beside = fake_quantize(beside, other)

        def error(value: torch.Tensor) -> float:
            found = self.weights(value, beside) if position == 0 else self.weights(beside, value)
            return float((found - exact).square().sum())

        return error


def best_range(sample: torch.Tensor, candidates: Sequence[ActivationQuant], error_of: ErrorOf) -> ActivationQuant:
    """The quantizer with the smallest error.

    Args:
        sample: values of an operand.
        candidates: in the order of their range.
        error_of: the error of the operand's values.
    """

    @cache
    def measured(index: int) -> float:
        return error_of(fake_quantize(sample, candidates[index]))

    about = min(range(0, len(candidates), _APART), key=measured)
    beside = range(max(about - _APART + 1, 0), min(about + _APART, len(candidates)))
    return candidates[min(beside, key=measured)]


def len_of(value: Value | None, rows: int) -> int:
    """How many images a value is of, with so many rows each."""
    assert value is not None
    return value.images if isinstance(value, Deferred) else len(value) // rows


def _of_image(value: Value, image: int, rows: int) -> torch.Tensor:
    some = range(image, image + 1)
    return value.of(some) if isinstance(value, Deferred) else rows_of(value, some, rows)


def _softmax_behind(graph: Graph, matmul: Node) -> Node | None:
    """The softmax whose scores a matmul makes."""
    pending = list(graph.consumers()[matmul.name])
    readers = graph.consumers()
    while pending:
        node = pending.pop()
        if isinstance(node.op, Softmax):
            return node if score_path(graph, node)[0].name == matmul.name else None
        pending += readers[node.name] if len(readers[node.name]) == 1 else []
    return None


def _weights(matmul: Node, constants: ScoreConstants | None) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    alpha = matmul.attributes(Matmul).alpha

    def weights(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        if constants is None:
            return first @ second
        scores = first @ second * alpha
        for step in constants.steps:
            if isinstance(step.op, Add):
                scores = scores + torch.from_numpy(constants.values[step.name]).to(scores)
            else:
                scores = compute(step, [scores])
        return scores.softmax(-1)

    return weights
