"""Values of all images in little more memory than they take themselves.

They are computed a few images at a time, so that what lies between operands and a result stays small; a result takes
the place of an operand that nothing else reads; and what is left of a value that was cut up keeps no more than itself.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import torch

from mptq_export.capture.evaluate import Compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.liveness import spare
from mptq_export.capture.ops import Movement, Weighted

#: Elements of the largest operand or result that are worked on at once.
CHUNK = 1 << 21


def compute_in_parts(graph: Graph, node: Node, values: dict[str, torch.Tensor], compute_node: Compute) -> torch.Tensor:
    """The value of a node.

    Args:
        graph: says who reads what, and which axes grow with the images.
        node: any node but an input.
        values: its operands by name, of all images.
        compute_node: gives the value of the node for some images.

    Returns:
        The value for all images. It may have taken the place of an operand that nothing else reads.
    """
    inputs = [values[name] for name in node.inputs]
    shapes = [graph[name].shape for name in node.inputs]
    rows = [shape.dims[0] if shape.batch_axis == 0 else 0 for shape in shapes]  # of an image; 0: a constant
    if (
        isinstance(node.op, Movement)
        or node.shape.batch_axis != 0
        or {s.batch_axis for s in shapes} - {0, None}
        or not any(rows)
    ):
        return compute_node(node, inputs)
    images = max(len(x) // each for x, each in zip(inputs, rows, strict=True) if each)
    result = values.get(spare(graph, node))
    for part in parts(images, max(math.prod(node.shape.at(images)), *(x.numel() for x in inputs))):
        value = compute_node(node, [_of(x, part, r) if r else x for x, r in zip(inputs, rows, strict=True)])
        if len(part) == images:
            return value
        if result is None:
            result = value.new_empty(node.shape.at(images))
        _of(result, part, node.shape.dims[0]).copy_(value)
    assert result is not None
    return result


def parts(images: int, numbers: int) -> Iterator[range]:
    """Images, so few at a time that of `numbers` of all images no more than `CHUNK` are theirs (or one image)."""
    together = max(1, images * CHUNK // max(1, numbers))
    return (range(start, min(start + together, images)) for start in range(0, images, together))


def halves(images: int, numbers: int) -> Iterator[slice]:
    """The even images, then the odd ones, as few at a time."""
    for odd in (0, 1):
        count = len(range(odd, images, 2))
        for part in parts(count, numbers * count // images):
            yield slice(odd + 2 * part.start, odd + 2 * part.stop - 1, 2)


def overwrite(value: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Replace a value by a function of its elements: float32 [images, ...]."""
    for part in torch.split(value, max(1, len(value) * CHUNK // max(1, value.numel()))):
        part.copy_(function(part))
    return value


def drop(values: dict[str, torch.Tensor], names: Iterable[str]) -> None:
    """Take values out of a dictionary; what is a view of less than half of the memory that it keeps becomes a copy."""
    for name in names:
        del values[name]
    views: dict[int, list[str]] = {}
    for name, value in values.items():
        views.setdefault(value.untyped_storage().data_ptr(), []).append(name)
    for sharing in views.values():
        if 2 * sum(values[name].nbytes for name in sharing) < values[sharing[0]].untyped_storage().nbytes():
            values.update((name, values[name].clone()) for name in sharing)


def cut_at_once(graph: Graph) -> list[str]:
    """The nodes in graph order, but what moves a layer's output right behind the layer.

    Queries, keys and values can then be dropped one by one.
    """
    readers, order = graph.consumers(), dict[str, None]()
    for node in graph:
        pending = [node]
        while pending:
            each = pending.pop()
            order[each.name] = None
            if isinstance(node.op, Weighted):
                pending += [reader for reader in reversed(readers[each.name]) if isinstance(reader.op, Movement)]
    return list(order)


def _of(value: torch.Tensor, images: range, rows: int) -> torch.Tensor:
    """The rows of some images."""
    return value[images.start * rows : images.stop * rows]
