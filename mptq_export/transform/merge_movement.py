"""Chains of data movement become slices -> reshape -> permute -> reshape, or reshape -> slice -> permute -> reshape.

A chain without rolls and windows reads its source in mixed radix: the flat source index is
`offset + sum(stride * digit)` over digits of the output index. Sorting the digits by stride gives the axes to split the
source into, their order in the output gives the permutation. A digit whose range is shorter than the distance to the
next larger stride is a slice.

Strides and sizes depend on the batch. The one digit whose size grows with it counts images: the largest where images
come one after the other, another where they do not (tokens first, [L, B, D] and [L * B, D]). It is found by reading the
chain at two batch sizes; where anything else changes from one to the other, the chain stays as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Movement, Op, Permute, Reshape, Roll, Slice, Windows

#: Movement that is no mixed radix: it stays as it is.
_Whole = Roll | Windows

#: Batch sizes at which a chain is read: more than one image, which tells their digit from one of size one.
_BATCHES = (2, 3)


@dataclass(frozen=True)
class _Digit:
    size: int
    stride: int


@dataclass(frozen=True)
class _Reading:
    """A chain at one batch size.

    Attributes:
        digits: of every axis of the result, slowest first.
        by_stride: all digits, the slowest of the source first.
        offset: flat source index of the first element.
        cuts: slices (axis, start, end) of the source, last axis first.
    """

    digits: list[list[_Digit]]
    by_stride: list[_Digit]
    offset: int
    cuts: list[tuple[int, int, int]]

    @property
    def order(self) -> list[int]:
        """Position among `by_stride` of every digit of the result."""
        return [self.by_stride.index(d) for axis in self.digits for d in axis]

    def sizes(self, images: int) -> list[int]:
        """Sizes of the digits for one image, in the order of `by_stride`; the one at `images` counts images."""
        return [d.size // _BATCHES[0] if i == images else d.size for i, d in enumerate(self.by_stride)]


def merge_movement(graph: Graph) -> Graph:
    """Rebuild every chain of movement that ends at a computing node or the output.

    Preserves: every value that a computing node reads.
    """
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph:
        if isinstance(node.op, Movement):
            continue
        inputs = tuple(_rebuilt(graph, name, nodes, renamed) for name in node.inputs)
        nodes.append(replace(node, inputs=inputs))
    output = _rebuilt(graph, graph.output, nodes, renamed)
    return Graph(nodes, output)


def _rebuilt(graph: Graph, name: str, nodes: list[Node], renamed: dict[str, str]) -> str:
    """Name of the value equal to `name` in the new graph, with its movement rebuilt."""
    if name in renamed or not isinstance(graph[name].op, Movement):
        return renamed.get(name, name)
    chain: list[Node] = []
    node = graph[name]
    while isinstance(node.op, Movement) and not isinstance(node.op, _Whole) and node.name not in renamed:
        chain.insert(0, node)
        node = graph[node.inputs[0]]
    if isinstance(node.op, _Whole) and node.name not in renamed:
        source = _rebuilt(graph, node.inputs[0], nodes, renamed)
        nodes.append(replace(node, inputs=(source,)))
        renamed[node.name] = node.name
    source = renamed.get(node.name, node.name)
    short = _shorten(chain, node.shape) if chain else []
    known: dict[tuple[Op, tuple[str, ...], Shape], str] = {
        (n.op, n.inputs, n.shape): n.name for n in nodes if isinstance(n.op, Movement)
    }
    result = source
    for planned in short:
        step = replace(planned, inputs=(result,))
        key = (step.op, step.inputs, step.shape)
        if key not in known:
            nodes.append(step)
        result = known.get(key, step.name)
    renamed[name] = result
    return result


def _shorten(chain: list[Node], shape: Shape) -> list[Node]:
    """The same movement of a value of a shape in as few nodes as possible; the chain itself where it is not affine.

    Whatever their inputs say, each is to read the one before it.
    """
    end = chain[-1]
    out, name = end.shape, end.name
    readings = [_reading(chain, shape, batch) for batch in _BATCHES]
    first = readings[0]
    if first is None or out.batch_axis is None or shape.batch_axis == len(shape.dims) - 1:
        return chain
    images = _image_digit(readings)
    if images is None or any(axis == shape.batch_axis for axis, _, _ in first.cuts):
        return chain
    steps: list[Node] = []
    sizes = first.sizes(images)
    heads = _heads(first.by_stride, shape.dims, first.offset, first.cuts)
    if heads is not None:
        return _split_first(first, images, heads, shape, end)
    inner = shape
    for axis, low, high in first.cuts:
        inner = Shape((*inner.dims[:axis], high - low, *inner.dims[axis + 1 :]), shape.batch_axis)
        steps.append(Node(Slice(axis, low, high), f"{name}.slice{axis}", (), inner))
    groups = _grouped(first.order)
    split = sorted(groups)
    if len(groups) > 1:
        holding = next(i for i, group in enumerate(split) if images in group)
        apart = Shape(tuple(math.prod(sizes[i] for i in group) for group in split), holding)
        if apart != inner:
            steps.append(Node(Reshape(), f"{name}.split", (), apart))
        perm = tuple(split.index(group) for group in groups)
        inner = Shape(tuple(apart.dims[p] for p in perm), perm.index(holding))
        steps.append(Node(Permute(perm), f"{name}.permute", (), inner))
    if inner != out:
        steps.append(Node(Reshape(), f"{name}.merge", (), out))
    return steps


def _reading(chain: list[Node], shape: Shape, batch: int) -> _Reading | None:
    """What a chain reads of a source at one batch size; None where it is not affine, or slices cannot select it."""
    start = shape.at(batch)
    index = torch.arange(math.prod(start)).reshape(start)
    for node in chain:
        index = compute(node, [index])
    digits = _digits(index)
    if digits is None:
        return None
    by_stride = sorted((d for axis in digits for d in axis), key=lambda d: -d.stride)
    offset = int(index.flatten()[0])
    cuts = _cuts(by_stride, start, offset)
    return None if cuts is None else _Reading(digits, by_stride, offset, cuts)


def _image_digit(readings: Sequence[_Reading | None]) -> int | None:
    """Position among `by_stride` of the digit that counts images; None where the batch changes more than its size."""
    first = readings[0]
    if first is None or any(r is None or (r.order, r.cuts) != (first.order, first.cuts) for r in readings):
        return None
    found: list[int] = []
    for i, digits in enumerate(zip(*(r.by_stride for r in readings if r is not None), strict=True)):
        sizes = [digit.size for digit in digits]
        if sizes[0] * _BATCHES[1] == sizes[1] * _BATCHES[0]:
            found.append(i)
        elif sizes[0] != sizes[1]:
            return None
    return found[0] if len(found) == 1 else None


def _heads(
    by_stride: list[_Digit], start: tuple[int, ...], offset: int, cuts: list[tuple[int, int, int]]
) -> int | None:
    """Position of the digit that counts heads, where the one slice takes whole heads from the last axis."""
    if len(cuts) != 1 or cuts[0][0] != len(start) - 1 or len(by_stride) < 3:
        return None
    heads = by_stride[-2]
    whole = heads.stride > 1 and by_stride[-1].stride == 1 and heads.size * heads.stride == cuts[0][2] - cuts[0][1]
    return len(by_stride) - 2 if whole and offset % heads.stride == 0 and start[-1] % heads.stride == 0 else None


def _split_first(reading: _Reading, images: int, heads: int, shape: Shape, end: Node) -> list[Node]:
    """Reshape -> slice of whole heads -> permute -> reshape: q, k and v read one reshape and tile one axis of it."""
    digit, perm, sizes = reading.by_stride[heads], tuple(reading.order), reading.sizes(images)
    every = (*sizes[:heads], shape.dims[-1] // digit.stride, *sizes[heads + 1 :])
    first = reading.offset // digit.stride
    moved = Shape(tuple(sizes[p] for p in perm), perm.index(images))
    steps = [
        Node(Reshape(), f"{end.name}.split", (), Shape(every, images)),
        Node(Slice(heads, first, first + digit.size), f"{end.name}.heads", (), Shape(tuple(sizes), images)),
        Node(Permute(perm), f"{end.name}.permute", (), moved),
    ]
    return steps if moved == end.shape else [*steps, Node(Reshape(), f"{end.name}.merge", (), end.shape)]


def _digits(index: torch.Tensor) -> list[list[_Digit]] | None:
    """Digits of every output axis, or None where the map is not affine in them."""
    first = index[(0,) * index.dim()]
    total = first.clone()
    result: list[list[_Digit]] = []
    for axis in range(index.dim()):
        line = index[tuple(slice(None) if a == axis else 0 for a in range(index.dim()))] - first
        view = [1] * index.dim()
        view[axis] = -1
        total = total + line.reshape(view)
        digits = _radix(line.tolist())
        if digits is None:
            return None
        result.append(digits)
    return result if torch.equal(total.expand(index.shape), index) else None


def _radix(line: list[int]) -> list[_Digit] | None:
    """Write a sequence that starts at 0 as digits, slowest first."""
    digits: list[_Digit] = []
    while len(line) > 1:
        stride = line[1]
        run = 1
        while run < len(line) and line[run] == run * stride:
            run += 1
        if len(line) % run or stride <= 0:
            return None
        block = line[:run]
        starts = line[::run]
        if any(line[i] != starts[i // run] + block[i % run] for i in range(len(line))):
            return None
        digits.insert(0, _Digit(run, stride))
        line = starts
    return digits


def _cuts(by_stride: list[_Digit], start: tuple[int, ...], offset: int) -> list[tuple[int, int, int]] | None:
    """The slices (axis, start, end) that select the digits' range, last axis first; None where slices cannot."""
    cuts: list[tuple[int, int, int]] = []
    expected = 1  # elements that one step of the next digit should skip
    total = math.prod(start)
    for stride, size in [*((d.stride, d.size) for d in reversed(by_stride)), (total, 1)]:
        while stride != expected:
            axis = len(start)
            period = 1
            while period <= expected and axis > 0:
                axis -= 1
                period *= start[axis]
            inner = period // start[axis]
            if expected % inner or stride % period:
                return None
            low = offset % period // inner
            if low + expected // inner > start[axis]:
                return None  # the range goes on in the next row
            cuts.append((axis, low, low + expected // inner))
            expected = period
        expected = stride * size
    return cuts


def _grouped(order: list[int]) -> list[list[int]]:
    """Join digits (positions in the source) that are neighbours both in the output and in the source."""
    groups: list[list[int]] = []
    for position in order:
        if groups and position == groups[-1][-1] + 1:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups
