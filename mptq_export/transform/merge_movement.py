"""Chains of data movement become slices -> reshape -> permute -> reshape, or reshape -> slice -> permute -> reshape.

A chain without rolls and windows reads its source in mixed radix: the flat source index is
`offset + sum(stride * digit)` over digits of the output index. Sorting the digits by stride gives the axes to split the
source into, their order in the output gives the permutation. A digit whose range is shorter than the distance to the
next larger stride is a slice.
"""

from dataclasses import dataclass

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import MOVEMENT, Graph, Node, Shape

#: Movement that is no mixed radix: it stays as it is.
_WHOLE = frozenset({"roll", "windows"})

_BATCH = 2  # two images tell the batch digit from a digit of size one


@dataclass(frozen=True)
class _Digit:
    size: int
    stride: int


def merge_movement(graph: Graph) -> Graph:
    """Rebuild every chain of movement that ends at a computing node or the output.

    Preserves: every value that a computing node reads.
    """
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph:
        if node.op in MOVEMENT:
            continue
        inputs = tuple(_rebuilt(graph, name, nodes, renamed) for name in node.inputs)
        nodes.append(Node(node.op, node.name, inputs, node.shape, node.attrs, node.params))
    output = _rebuilt(graph, graph.output, nodes, renamed)
    return Graph(nodes, output)


def _rebuilt(graph: Graph, name: str, nodes: list[Node], renamed: dict[str, str]) -> str:
    """Name of the value equal to `name` in the new graph, with its movement rebuilt."""
    if name in renamed or graph[name].op not in MOVEMENT:
        return renamed.get(name, name)
    chain: list[Node] = []
    node = graph[name]
    while node.op in MOVEMENT and node.op not in _WHOLE and node.name not in renamed:
        chain.insert(0, node)
        node = graph[node.inputs[0]]
    if node.op in _WHOLE and node.name not in renamed:
        source = _rebuilt(graph, node.inputs[0], nodes, renamed)
        nodes.append(Node(node.op, node.name, (source,), node.shape, node.attrs))
        renamed[node.name] = node.name
    source = renamed.get(node.name, node.name)
    short = _shorten(chain, source, node.shape, name) if chain else []
    known = {(n.op, n.inputs, n.shape, tuple(n.attrs.items())): n.name for n in nodes if n.op in MOVEMENT}
    result = source
    for planned in short:
        step = Node(planned.op, planned.name, (result,), planned.shape, planned.attrs)
        key = (step.op, step.inputs, step.shape, tuple(step.attrs.items()))
        if key not in known:
            nodes.append(step)
        result = known.get(key, step.name)
    renamed[name] = result
    return result


def _shorten(chain: list[Node], source: str, shape: Shape, name: str) -> list[Node]:
    """The same movement in as few nodes as possible; the chain itself where it is not affine."""
    start = shape.at(_BATCH)
    if shape.batch_axis != 0:
        return chain
    index = torch.arange(int(torch.tensor(start).prod())).reshape(start)
    for node in chain:
        index = compute(node, [index])
    digits = _digits(index)
    out = chain[-1].shape
    if digits is None or out.batch_axis is None:
        return chain
    steps: list[Node] = []
    by_stride = sorted((d for axis in digits for d in axis), key=lambda d: -d.stride)
    offset = int(index.flatten()[0])
    cuts = _cuts(by_stride, start, offset)
    if cuts is None or any(axis == shape.batch_axis for axis, _, _ in cuts):
        return chain
    heads = _heads(by_stride, start, offset, cuts)
    if heads is not None:
        return _split_first(digits, by_stride, heads, start, offset, out, source, name)
    inner = shape.dims
    for axis, low, high in cuts:
        inner = (*inner[:axis], high - low, *inner[axis + 1 :])
        attrs = {"axis": axis, "start": low, "end": high}
        steps.append(Node("slice", f"{name}.slice{axis}", (source,), Shape(inner, 0), attrs))
    order = [d for axis in digits for d in axis]
    groups = _grouped(order, by_stride)
    split = sorted(groups, key=lambda group: -group[0].stride)
    batch_at = 0
    sizes = [int(torch.tensor([d.size for d in group]).prod()) for group in split]
    if len(groups) > 1:
        dims = tuple(size // _BATCH if i == batch_at else size for i, size in enumerate(sizes))
        if dims != inner:
            steps.append(Node("reshape", f"{name}.split", (source,), Shape(dims, batch_at)))
        perm = tuple(split.index(group) for group in groups)
        moved = tuple(dims[p] for p in perm)
        steps.append(Node("permute", f"{name}.permute", (source,), Shape(moved, perm.index(batch_at)), {"perm": perm}))
        inner = moved
    if inner != out.dims or (steps and steps[-1].shape != out):
        steps.append(Node("reshape", f"{name}.merge", (source,), out))
    return steps


def _heads(
    by_stride: list[_Digit], start: tuple[int, ...], offset: int, cuts: list[tuple[int, int, int]]
) -> int | None:
    """Position of the digit that counts heads, where the one slice takes whole heads from the last axis."""
    if len(cuts) != 1 or cuts[0][0] != len(start) - 1 or len(by_stride) < 3:
        return None
    heads = by_stride[-2]
    whole = heads.stride > 1 and by_stride[-1].stride == 1 and heads.size * heads.stride == cuts[0][2] - cuts[0][1]
    return len(by_stride) - 2 if whole and offset % heads.stride == 0 and start[-1] % heads.stride == 0 else None


def _split_first(
    digits: list[list[_Digit]],
    by_stride: list[_Digit],
    heads: int,
    start: tuple[int, ...],
    offset: int,
    out: Shape,
    source: str,
    name: str,
) -> list[Node]:
    """Reshape -> slice of whole heads -> permute -> reshape: q, k and v read one reshape and tile one axis of it."""
    every = [d.size for d in by_stride]
    every[0] //= _BATCH
    every[heads] = start[-1] // by_stride[heads].stride
    first = offset // by_stride[heads].stride
    attrs = {"axis": heads, "start": first, "end": first + by_stride[heads].size}
    dims = (*every[:heads], by_stride[heads].size, *every[heads + 1 :])
    perm = tuple(by_stride.index(d) for axis in digits for d in axis)
    moved = Shape(tuple(dims[p] for p in perm), perm.index(0))
    steps = [
        Node("reshape", f"{name}.split", (source,), Shape(tuple(every), 0)),
        Node("slice", f"{name}.heads", (source,), Shape(dims, 0), attrs),
        Node("permute", f"{name}.permute", (source,), moved, {"perm": perm}),
    ]
    return steps if moved == out else [*steps, Node("reshape", f"{name}.merge", (source,), out)]


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
    total = int(torch.tensor(start).prod())
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
            cuts.append((axis, low, low + expected // inner))
            expected = period
        expected = stride * size
    return cuts


def _grouped(order: list[_Digit], by_stride: list[_Digit]) -> list[list[_Digit]]:
    """Join digits that are neighbours both in the output and in the source (the batch digit stays reachable)."""
    position = {id(d): i for i, d in enumerate(by_stride)}
    groups: list[list[_Digit]] = []
    for digit in order:
        if groups and position[id(digit)] == position[id(groups[-1][-1])] + 1:
            groups[-1].append(digit)
        else:
            groups.append([digit])
    return groups
