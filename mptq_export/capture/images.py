"""Which image every element of a value belongs to: a model that mixes the images of a batch is refused where it does.

Every op is followed with numbers of images in the place of values: movement moves them, a sum over an axis (of a norm,
a softmax, a product) needs one image along it, and two operands need the same image wherever they meet.
"""

from collections.abc import Callable

import torch

from mptq_export.capture.evaluate import compute, evaluate, patches
from mptq_export.capture.graph import MOVEMENT, Graph, Node
from mptq_export.errors import MptqError

#: Batch sizes that are followed: one that hides nothing in an even number, one that is no divisor of common sizes.
_BATCHES = (3, 5)

#: The image of a constant and of zeros around windows: none. Images count from 1.
_NONE = 0

_PLACED = MOVEMENT | {"concat", "pad", "outputs"}


class _MixedError(Exception):
    """Elements of several images meet."""


def check_images(graph: Graph) -> None:
    """Refuse a graph in which images meet, or whose result for an image is not in the image's place.

    Args:
        graph: any canonical graph.

    Raises:
        MptqError: images are mixed; the message names the first node that does it.
    """
    for batch in _BATCHES:
        source = graph.input.shape.at(batch)
        numbers = torch.arange(1, batch + 1, dtype=torch.int8)
        images = numbers.reshape(-1, *[1] * (len(source) - 1)).expand(source)

        def follow(node: Node, inputs: list[torch.Tensor], batch: int = batch) -> torch.Tensor:
            try:
                found = _images_of(node, inputs).expand(node.shape.at(batch))
            except (_MixedError, RuntimeError) as error:  # torch: sizes that do not fit for so many images
                raise _mixed(node.name) from error
            return found

        result = evaluate(graph, images, compute_node=follow)
        alone = result == numbers.reshape(-1, *[1] * (result.dim() - 1))
        if graph[graph.output].shape.batch_axis not in (0, None) or not bool((alone | (result == _NONE)).all()):
            raise _mixed(graph.output)


def _mixed(name: str) -> MptqError:
    return MptqError(
        f"{name}: images of a batch are mixed here, so that what an image gives depends on those beside it; the model "
        "cannot be exported. If this is attention, check the order of its axes (batch_first); if it is a norm, give it "
        "running statistics"
    )


def _images_of(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
    """The images of a node's elements, in a shape that broadcasts to that of its value."""
    if node.op == "constant":
        return torch.zeros(node.shape.dims, dtype=torch.int8)
    if node.op in _PLACED:
        return compute(node, inputs)
    return _COMPUTED.get(node.op, _elementwise)(node, *inputs)


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


_COMPUTED: dict[str, Callable[..., torch.Tensor]] = {
    "patch_embed": lambda node, x: _over(patches(x, node.attrs["patch"]), (-1,)),
    "depthwise": lambda _node, x: _over(x, (1, 2, 3)),
    "matmul": _matmul,
    "mean": lambda node, x: _over(x, node.attrs["axes"], keepdim=node.attrs["keepdim"]),
    "max": lambda node, x: _over(x, (node.attrs["axis"],)),
    **dict.fromkeys(("linear", "layer_norm", "softmax", "rotary"), lambda _node, x: _over(x, (-1,))),
}
