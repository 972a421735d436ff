"""Which image every element of a value belongs to: a model that mixes the images of a batch is refused where it does.

Every op is followed with numbers of images in the place of values: movement moves them, a sum over an axis (of a norm,
a softmax, a product) needs one image along it, and two operands need the same image wherever they meet.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mptq_export.capture import ops
from mptq_export.capture.evaluate import Observer, compute, evaluate, patches
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Movement, Op
from mptq_export.support.errors import MptqError

#: Batch sizes that are followed: one that hides nothing in an even number, one that is no divisor of common sizes.
_BATCHES = (3, 5)

#: The image of a constant and of zeros around windows: none. Images count from 1.
_NONE = 0

_Placed = Movement | ops.Concat | ops.Pad | ops.Outputs


class _MixedError(Exception):
    """Elements of several images meet."""


@dataclass(frozen=True)
class ImageDigit:
    """Where the images of a value are: an axis of `slow` x images x `fast` rows.

    Attributes:
        axis: the axis that grows with the batch.
        slow: how often all images come, one after the other.
        fast: rows of an image that are neighbours.
    """

    axis: int
    slow: int
    fast: int

    @property
    def leads(self) -> bool:
        """Whether the value is one image after the other."""
        return self.axis == 0 and self.slow == 1


def check_images(graph: Graph) -> None:
    """Refuse a graph in which images meet, or whose result for an image is not in the image's place.

    Args:
        graph: any canonical graph.

    Raises:
        MptqError: images are mixed; the message names the first node that does it.
    """
    for batch in _BATCHES:
        result = _followed(graph, batch)
        alone = result == _numbers(batch).reshape(-1, *[1] * (result.dim() - 1))
        if graph[graph.output].shape.batch_axis not in (0, None) or not bool((alone | (result == _NONE)).all()):
            raise _mixed(graph.output)


def image_digits(graph: Graph) -> dict[str, ImageDigit]:
    """Where the images of every value are; values without images, or with a mixed order, are left out.

    Raises:
        MptqError: images are mixed.
    """
    digits: dict[str, ImageDigit] = {}
    batch = _BATCHES[0]

    def observe(node: Node, images: torch.Tensor) -> None:
        axis = node.shape.batch_axis
        if axis is None or not images.numel():
            return
        others = tuple(other for other in range(images.dim()) if other != axis)
        line = images.amax(others) if others else images
        changes = (line[1:] != line[:-1]).nonzero().flatten().tolist()
        fast = changes[0] + 1 if changes else len(line)
        digit = ImageDigit(axis, len(line) // (batch * fast), fast)
        if torch.equal(line, _numbers(batch).repeat_interleave(fast).repeat(digit.slow)):
            digits[node.name] = digit

    _followed(graph, batch, observe)
    return digits


def images_lead(graph: Graph) -> set[str]:
    """Names of the values that are one image after the other: parts of their first axis are values of some images."""
    if all(node.shape.batch_axis in (0, None) for node in graph):  # nothing moves the images elsewhere
        return set(graph.nodes)
    return {name for name, digit in image_digits(graph).items() if digit.leads}


def _numbers(batch: int) -> torch.Tensor:
    return torch.arange(1, batch + 1, dtype=torch.int8)


def _followed(graph: Graph, batch: int, observe: Observer | None = None) -> torch.Tensor:
    """The images of the output's elements; `observe` sees those of every value."""

    def follow(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        try:
            return _images_of(node, inputs).expand(node.shape.at(batch))
        except (_MixedError, RuntimeError) as error:  # torch: sizes that do not fit for so many images
            raise _mixed(node.name) from error

    source = graph.input.shape.at(batch)
    images = _numbers(batch).reshape(-1, *[1] * (len(source) - 1)).expand(source)
    return evaluate(graph, images, observe, compute_node=follow)


def _mixed(name: str) -> MptqError:
    return MptqError(
        f"{name}: images of a batch are mixed here, so that what an image gives depends on those beside it; the model "
        "cannot be exported. If this is attention, check the order of its axes (batch_first); if it is a norm, give it "
        "running statistics"
    )


def _images_of(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
    """The images of a node's elements, in a shape that broadcasts to that of its value."""
    if isinstance(node.op, _Placed):
        return compute(node, inputs)
    return _COMPUTED[type(node.op)](node, *inputs)


def _elementwise(_node: Node, *inputs: torch.Tensor) -> torch.Tensor:
    """Operands that broadcast to each other."""
    total = inputs[0]
    for other in inputs[1:]:
        if bool(((total != other) & (total != _NONE) & (other != _NONE)).any()):
            raise _MixedError
        total = torch.maximum(total, other)
    return total


def _over(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool = True) -> torch.Tensor:
    """The one image along some axes."""
    for axis in axes:
        if x.stride(axis) == 0:  # one element, seen many times
            x = x.narrow(axis, 0, 1)
    high = x.amax(axes, keepdim=True)
    if bool(((x != high) & (x != _NONE)).any()):
        raise _MixedError
    return high if keepdim else high.squeeze(axes)


def _matmul(_node: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return _elementwise(_node, _over(a, (-1,)), _over(b, (-2,)))


def _mean(node: Node, x: torch.Tensor) -> torch.Tensor:
    mean = node.attributes(ops.Mean)
    return _over(x, mean.axes, keepdim=mean.keepdim)


#: Every op but those that are placed.
_COMPUTED: dict[type[Op], Callable[..., torch.Tensor]] = {
    ops.Constant: lambda node: torch.zeros(node.shape.dims, dtype=torch.int8),
    ops.PatchEmbed: lambda node, x: _over(patches(x, node.attributes(ops.PatchEmbed).patch), (-1,)),
    ops.Depthwise: lambda _node, x: _over(x, (1, 2, 3)),
    ops.Matmul: _matmul,
    ops.Mean: _mean,
    ops.Max: lambda node, x: _over(x, (node.attributes(ops.Max).axis,)),
    ops.Resample: lambda node, x: _over(x, (node.attributes(ops.Resample).axis,)),
    **dict.fromkeys((ops.Linear, ops.LayerNorm, ops.Softmax, ops.Rotary), lambda _node, x: _over(x, (-1,))),
    **dict.fromkeys((ops.Activation, ops.Relu, ops.Add, ops.Mul, ops.Product, ops.ToPixels), _elementwise),
}
