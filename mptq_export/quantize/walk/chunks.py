"""Values of all images in little more memory than they take themselves.

They are computed a chunk of images at a time, so that what lies between operands and a result stays small; a result
takes the place of an operand that nothing else reads; and what is left of a value that was cut up keeps no more than
itself.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import torch

from mptq_export.capture.calls import calls, in_order
from mptq_export.capture.deferred import Value, image_chunks, is_held, rows_of
from mptq_export.capture.evaluate import Compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.liveness import spare
from mptq_export.capture.ops import Movement, Weighted

#: Elements of the largest operand or result that are worked on at once.
CHUNK = 1 << 21


Place = Callable[[tuple[int, ...], torch.dtype], torch.Tensor]
"""A tensor of a shape and a type, to be written."""


def compute_in_chunks(
    graph: Graph,
    node: Node,
    values: dict[str, torch.Tensor],
    compute_node: Compute,
    chunk: int = CHUNK,
    *,
    place: Place | None = None,
) -> torch.Tensor:
    """The value of a node, a few images at a time.

    Args:
        graph: says who reads what, and which axes grow with the images.
        node: any node but an input.
        values: its operands by name, of all images.
        compute_node: gives the value of the node for some images.
        chunk: elements of the largest operand or result that are worked on at once.
        place: gives the result a place; None: beside its first part.

    Returns:
        The value for all images. It may have taken the place of an operand that nothing else reads.
    """
    inputs = [values[name] for name in node.inputs]
    shapes = [graph[name].shape for name in node.inputs]
    rows = [shape.dims[0] if shape.batch_axis == 0 else 0 for shape in shapes]  # per image; 0: a constant
    if (
        isinstance(node.op, Movement)
        or node.shape.batch_axis != 0
        or {s.batch_axis for s in shapes} - {0, None}
        or not any(rows)
    ):
        return compute_node(node, inputs)
    images = max(len(x) // each for x, each in zip(inputs, rows, strict=True) if each)
    result = values.get(spare(graph, node))
    for some in image_chunks(images, max(math.prod(node.shape.at(images)), *(x.numel() for x in inputs)), chunk):
        value = compute_node(node, [rows_of(x, some, r) if r else x for x, r in zip(inputs, rows, strict=True)])
        if len(some) == images:
            return value
        if result is None:
            shape = node.shape.at(images)
            result = value.new_empty(shape) if place is None else place(shape, value.dtype)
        rows_of(result, some, node.shape.dims[0]).copy_(value)
    assert result is not None
    return result


def even_then_odd(images: int, numbers: int, chunk: int = CHUNK) -> Iterator[slice]:
    """The even images, then the odd ones, as few at a time: what is fitted to one half is judged on the other."""
    for odd in (0, 1):
        count = len(range(odd, images, 2))
        for some in image_chunks(count, numbers * count // images, chunk):
            yield slice(odd + 2 * some.start, odd + 2 * some.stop - 1, 2)


def overwrite(
    value: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor], chunk: int = CHUNK
) -> torch.Tensor:
    """Replace a value by a function of its elements, a few images at a time: [images, ...]."""
    for some in torch.split(value, max(1, len(value) * chunk // max(1, value.numel()))):
        some.copy_(function(some))
    return value


def drop(
    values: dict[str, Value], names: Iterable[str], copy: Callable[[torch.Tensor], torch.Tensor] = torch.clone
) -> None:
    """Take values out of a dictionary; a view of less than half of the memory that it keeps alive becomes a copy."""
    for name in names:
        del values[name]
    views: dict[int, list[str]] = {}
    held = {name: value for name, value in values.items() if is_held(value)}
    for name, value in held.items():
        views.setdefault(value.untyped_storage().data_ptr(), []).append(name)
    for sharing in views.values():
        if 2 * sum(held[name].nbytes for name in sharing) < held[sharing[0]].untyped_storage().nbytes():
            values.update((name, copy(held[name])) for name in sharing)


def walk_order(graph: Graph) -> list[str]:
    """Names of the nodes in graph order, but what moves a layer's output right behind the layer.

    Queries, keys and values are then cut apart at once, and can be dropped one by one. What any
    call of a layer reads stands before the first of its calls.
    """
    readers, order = graph.consumers(), dict[str, None]()
    for name in in_order(graph, calls(graph)) or ():
        node = graph[name]
        pending = [node]
        while pending:
            each = pending.pop()
            order[each.name] = None
            if isinstance(node.op, Weighted):
                pending += [reader for reader in reversed(readers[each.name]) if isinstance(reader.op, Movement)]
    return list(order)
