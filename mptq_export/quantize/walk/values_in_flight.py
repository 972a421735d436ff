"""The values in flight: those of the quantized model that are still to be read, and beside them the float model's.

From them comes what a layer is fitted to: what it reads, and what it should give.
"""

from collections.abc import Iterator

import torch

from mptq_export.capture.deferred import Value, deferring_scores, is_held, whole
from mptq_export.capture.evaluate import Compute, compute, patches
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Input, Linear, Movement, PatchEmbed, Reshape
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.quantize.walk.chunks import compute_in_chunks, drop, even_then_odd, walk_order
from mptq_export.quantize.weights.ridge_correction import FittingRows
from mptq_export.recipe.schema import ActivationQuant


class ValuesInFlight:
    """Values of all images that are still to be read.

    Attributes:
        order: names of all nodes, as they are walked.
        images: how many there are.
        quantized: float32 values of the quantized model by name, those of scores deferred where they are too many.
        floats: float64 values of the float model by name; none where nothing is measured against it.
    """

    def __init__(self, graph: Graph, images: torch.Tensor, *, with_floats: bool) -> None:
        """Begin with the input.

        Args:
            graph: what is walked; transforms may replace nodes meanwhile, but not their names.
            images: float32 calibration inputs.
            with_floats: compute the float model too.
        """
        self.order = walk_order(graph)
        self.images = len(images)
        self.quantized: dict[str, Value] = {}
        self.floats: dict[str, Value] = {}
        self._deferring = deferring_scores(graph, len(images))
        self._with_floats = with_floats
        self._last_use = {operand: name for name in self.order for operand in graph[name].inputs}
        for name in (name for name in self.order if isinstance(graph[name].op, Input)):
            self.quantized[name] = images
            if with_floats:
                self.floats[name] = images.double()

    def compute_float(self, graph: Graph, node: Node) -> None:
        """The value of the float model; its operands go at once where nothing else needs them."""
        if self._with_floats:
            self.floats[node.name] = self._value(graph, node.cast(torch.float64), self.floats, compute)
            self._forget(self.floats, graph, node)

    def compute_quantized(self, graph: Graph, node: Node, compute_node: Compute) -> Value:
        """The value of the quantized model; `compute_node` gives that of a node for some images."""
        return self._value(graph, node, self.quantized, compute_node)

    def held(self, name: str) -> torch.Tensor:
        """A value of the quantized model, of all images."""
        return whole(self.quantized[name])

    def _value(self, graph: Graph, node: Node, values: dict[str, Value], compute_node: Compute) -> Value:
        operands = [values[name] for name in node.inputs]
        if node.name in self._deferring.names or not all(is_held(each) for each in operands):
            return self._deferring.value(node, operands, compute_node)
        held = {name: value for name, value in values.items() if is_held(value)}
        return compute_in_chunks(graph, node, held, compute_node)

    def forget(self, graph: Graph, node: Node) -> None:
        """Drop the quantized values that no node behind this one reads."""
        self._forget(self.quantized, graph, node)

    def _forget(self, values: dict[str, Value], graph: Graph, node: Node) -> None:
        drop(values, {n for n in node.inputs if self._last_use[n] == node.name and n != graph.output})

    def fitting_rows(
        self, graph: Graph, node: Node, quant: ActivationQuant, importance: torch.Tensor | None, *, residual: bool
    ) -> Iterator[FittingRows]:
        """What a layer reads and should give, a few images at a time: the even ones, then the odd ones.

        Args:
            graph: says who reads the layer.
            node: a linear layer or a patch embedding.
            quant: quantizer of what it reads.
            importance: weights of its rows; None: all alike.
            residual: as for `fitting_target`.
        """
        value = self.held(node.inputs[0])
        if isinstance(node.op, Linear):
            value = value.reshape(self.images, -1, value.shape[-1])
        for images in even_then_odd(self.images, max(value.numel(), whole(self.floats[node.name]).numel())):
            x = fake_quantize(value[images], quant)
            rows = (patches(x, node.op.patch) if isinstance(node.op, PatchEmbed) else x).flatten(0, -2)
            counts = rows.new_ones(len(rows), dtype=torch.float64)
            if importance is not None:
                counts = importance.reshape(self.images, -1)[images].flatten()
            target = self.fitting_target(graph, node, images, residual=residual)
            yield FittingRows(rows, target, counts, odd=images.start % 2 == 1)

    def fitting_target(self, graph: Graph, node: Node, images: slice = slice(None), *, residual: bool) -> torch.Tensor:
        """What a layer is fitted to, its float output: float64 [rows, N].

        Args:
            graph: says who reads the layer.
            node: the layer.
            images: which images.
            residual: where the output is added to a residual, add what that residual lacks already.
        """
        own = whole(self.floats[node.name])

        def rows(value: torch.Tensor) -> torch.Tensor:
            return value.reshape(self.images, -1, own.shape[-1])[images].flatten(0, 1)

        target = rows(own)
        name, readers = node.name, graph.consumers()
        while len(readers[name]) == 1 and isinstance(readers[name][0].op, Reshape):
            name = readers[name][0].name
        if not residual or len(readers[name]) != 1 or not isinstance(readers[name][0].op, Add):
            return target
        other = next((n for n in readers[name][0].inputs if n != name), name)
        wanted, found = (_moved(graph, other, values) for values in (self.floats, self.quantized))
        if wanted is None or found is None or found.numel() != own.numel():
            return target
        return target + (rows(wanted) - rows(found))


def _moved(graph: Graph, name: str, values: dict[str, Value]) -> torch.Tensor | None:
    """A value in flight, or what is moved from one later on: the rows of a stream that the last block goes on with."""
    moves: list[Node] = []
    while name not in values:
        if not isinstance(graph[name].op, Movement):
            return None
        moves.insert(0, graph[name])
        name = graph[name].inputs[0]
    value = whole(values[name])
    for move in moves:
        value = compute(move, [value])
    return value
