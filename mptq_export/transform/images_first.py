"""Images become the first axis of what is computed.

Token-major code ([L, B, D] or rows [L * B, D]) computes layers, norms and sums on values whose images are not one
after the other. All of these work on the last axis or on single elements, so that they commute with a permutation of
the other axes: `f(x) = P^-1 f(P x)`, where P takes the images to the front. Of the permutations between two such ops
nothing is left (`merge_movement`). Later stages may then cut every layer's rows and every block's values into images.
"""

from dataclasses import replace

import torch

from mptq_export.capture.follow_images import ImageDigit, image_digits
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Activation, Add, Constant, LayerNorm, Linear, Mul, Permute, Product, Relu, Reshape
from mptq_export.transform.merge_movement import merge_movement

_Commutes = Linear | LayerNorm | Activation | Relu | Add | Mul | Product


def images_first(graph: Graph) -> Graph:
    """Move the images of layers, norms and elementwise ops to the front.

    Preserves: the output. An op between values of different orders is left as it is.
    """
    if all(node.shape.batch_axis in (0, None) for node in graph):
        return graph
    digits = image_digits(graph)
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        digit = digits.get(node.name)
        if digit is None or digit.leads or not _commutes(graph, node, digits):
            nodes.append(replace(node, inputs=inputs))
            continue
        front = _Front(node.shape, digit)
        parts = []
        for i, name in enumerate(inputs):
            nodes += _in_front(front, graph[node.inputs[i]], name, f"{node.name}.operand{i}")
            parts.append(nodes[-1].name)
        params = dict(node.params)
        if isinstance(node.op, Mul):
            params["value"] = front.constant(params["value"])
        nodes.append(replace(node, inputs=tuple(parts), shape=front.shape, params=params))
        nodes += front.back(node.name, f"{node.name}.turned_back", node.shape)
        renamed[node.name] = nodes[-1].name
    return merge_movement(Graph(nodes, renamed.get(graph.output, graph.output))) if renamed else graph


class _Front:
    """The permutation that takes the images of values with some leading axes to the front."""

    def __init__(self, shape: Shape, digit: ImageDigit) -> None:
        self.axis, self.rank = digit.axis, len(shape.dims)
        self.pieces = [size for size in (digit.slow,) if size > 1], [size for size in (digit.fast,) if size > 1]
        at = digit.axis + len(self.pieces[0])
        width = self.rank - 1 + sum(map(len, self.pieces)) + 1
        self.batch = at
        self.perm = (at, *(i for i in range(width) if i != at))
        self.shape = self.moved(self.split(shape.dims))

    def split(self, dims: tuple[int, ...]) -> Shape:
        """Sizes with an axis for the images alone."""
        slow, fast = self.pieces
        return Shape((*dims[: self.axis], *slow, 1, *fast, *dims[self.axis + 1 :]), self.batch)

    def moved(self, shape: Shape) -> Shape:
        """These sizes with the images in front."""
        return Shape(tuple(shape.dims[p] for p in self.perm), 0)

    def there(self, source: str, name: str, shape: Shape) -> list[Node]:
        """Movement to the front."""
        apart = self.split(shape.dims)
        steps = [] if apart == shape else [Node(Reshape(), f"{name}.apart", (source,), apart)]
        source = steps[-1].name if steps else source
        return [*steps, Node(Permute(self.perm), name, (source,), self.moved(apart))]

    def back(self, source: str, name: str, shape: Shape) -> list[Node]:
        """Movement from the front."""
        apart = self.split(shape.dims)
        inverse = tuple(self.perm.index(i) for i in range(len(self.perm)))
        steps = [Node(Permute(inverse), name, (source,), apart)]
        return steps if apart == shape else [*steps, Node(Reshape(), f"{name}.joined", (name,), shape)]

    def constant(self, value: torch.Tensor) -> torch.Tensor:
        """A constant that is broadcast along the images, for values whose images are in front."""
        if value.dim() < self.rank - self.axis:
            return value
        full = value.reshape(*[1] * (self.rank - value.dim()), *value.shape)
        slow, fast = ([1] * len(piece) for piece in self.pieces)
        split = full.reshape(*full.shape[: self.axis], *slow, 1, *fast, *full.shape[self.axis + 1 :])
        return split.permute(self.perm).contiguous()


def _commutes(graph: Graph, node: Node, digits: dict[str, ImageDigit]) -> bool:
    """Whether an op works on the last axis or single elements, on operands of one order of images."""
    rank, axis = len(node.shape.dims), digits[node.name].axis
    if not isinstance(node.op, _Commutes) or axis == rank - 1:
        return False
    constants = [graph[name].params["value"] for name in node.inputs if isinstance(graph[name].op, Constant)]
    constants += [node.params["value"]] if isinstance(node.op, Mul) else []
    if any(value.dim() > rank or (value.dim() >= rank - axis and value.shape[axis - rank] != 1) for value in constants):
        return False
    operands = [graph[name] for name in node.inputs if not isinstance(graph[name].op, Constant)]
    return all(
        digits.get(operand.name) == digits[node.name] and operand.shape.dims[:-1] == node.shape.dims[:-1]
        for operand in operands
    )


def _in_front(front: _Front, operand: Node, source: str, name: str) -> list[Node]:
    """Nodes of which the last, `name`, is an operand with its images in front.

    Args:
        front: the permutation.
        operand: a node of the graph that is rewritten.
        source: the name of its value in the new graph.
        name: of the new operand.
    """
    if not isinstance(operand.op, Constant):
        return front.there(source, name, operand.shape)
    value = front.constant(operand.params["value"])
    return [Node(Constant(), name, (), Shape(tuple(value.shape), None), {"value": value})]
