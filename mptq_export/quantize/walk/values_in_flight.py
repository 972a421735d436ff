"""The values in flight: those of the quantized model that are still to be read, and beside them the float model's.

From them comes what a layer is fitted to: what it reads, and what it should give.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import torch

from mptq_export.capture.deferred import Deferred, Value, deferring_scores, is_held, whole
from mptq_export.capture.evaluate import Compute, compute, patches
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Input, Linear, Movement, PatchEmbed, Reshape
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.quantize.walk.chunks import compute_in_chunks, drop, even_then_odd, overwrite, walk_order
from mptq_export.quantize.walk.room import Room
from mptq_export.quantize.weights.ridge_correction import FittingRows
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.memory import trim

#: Numbers of a value whose parts leave hundreds of megabytes free in the process.
_LARGE = 1 << 25


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
        self._room, self._with_floats = Room(images.device), with_floats
        self._last_use = {operand: name for name in self.order for operand in graph[name].inputs}
        for name in (name for name in self.order if isinstance(graph[name].op, Input)):
            self.quantized[name] = images
            if with_floats:
                self.floats[name] = self._room.settled(images.double(), self._waiting())

    def compute_float(self, graph: Graph, node: Node) -> None:
        """The value of the float model; its operands go at once where nothing else needs them."""
        if self._with_floats:
            self.floats[node.name] = self._value(graph, node.cast(torch.float64), self.floats, compute)
            self._forget(self.floats, graph, node)

    def compute_quantized(self, graph: Graph, node: Node, compute_node: Compute) -> Value:
        """The value of the quantized model; `compute_node` gives that of a node for some images."""
        return self._value(graph, node, self.quantized, compute_node)

    def held(self, name: str) -> torch.Tensor:
        """A value of the quantized model, of all images, on the device that computes."""
        return self._room.fetched(whole(self.quantized[name]))

    def read(self, name: str) -> Value:
        """The same, but for what is deferred."""
        value = self.quantized[name]
        return self._room.fetched(value) if is_held(value) else value

    @property
    def readable(self) -> Mapping[str, Value]:
        """All values of the quantized model by name, each as `read` gives it when it is asked for."""
        return _Readable(self)

    def overwrite_quantized(self, name: str, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Replace a value of the quantized model by a function of its elements; one that is deferred stays."""
        self._overwrite(self.quantized[name], function)

    def overwrite_float(self, name: str, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """The same of the float model, where that is computed."""
        if name in self.floats:
            self._overwrite(self.floats[name], function)

    def _overwrite(self, value: Value, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        if is_held(value):
            overwrite(value, lambda some: function(self._room.fetched(some)))

    def _value(self, graph: Graph, node: Node, values: dict[str, Value], compute_node: Compute) -> Value:
        operands, compute_node = [values[name] for name in node.inputs], self._fetching(compute_node)
        if node.name in self._deferring.names or not all(is_held(each) for each in operands):
            value = self._deferring.value(node, operands, compute_node)
        else:
            held = {name: value for name, value in values.items() if is_held(value)}
            value = compute_in_chunks(graph, node, held, compute_node, place=self._place)
        return self._room.settled(value, self._waiting()) if is_held(value) else value

    def _fetching(self, compute_node: Compute) -> Compute:
        """The same from operands that may wait elsewhere; what is only moved stays where it waits."""

        def compute_fetched(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
            if isinstance(node.op, Movement) and len({each.device for each in inputs}) == 1:
                return compute_node(node, inputs)
            return compute_node(node, [self._room.fetched(each) for each in inputs])

        return compute_fetched

    def _place(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return self._room.empty(shape, dtype, self._waiting())

    def _waiting(self) -> Iterator[torch.Tensor]:
        """Every tensor that is still to be read, of what is deferred those that it is computed from."""
        pending: list[Value] = [*self.quantized.values(), *self.floats.values()]
        while pending:
            value = pending.pop()
            if isinstance(value, Deferred):
                pending += value.operands
            else:
                yield value

    def keep(self, value: torch.Tensor) -> torch.Tensor:
        """What is no value but stays until the walk ends, where it can wait that long."""
        return self._room.keep(value, self._waiting())

    def rest(self, node: Node) -> None:
        """A node is done: what is in files leaves the process's memory until it is read, and so does what is free."""
        self._room.rest()
        if math.prod(node.shape.at(self.images)) > _LARGE:
            trim()

    def forget(self, graph: Graph, node: Node) -> None:
        """Drop the quantized values that no node behind this one reads."""
        self._forget(self.quantized, graph, node)

    def _forget(self, values: dict[str, Value], graph: Graph, node: Node) -> None:
        names = {n for n in node.inputs if self._last_use[n] == node.name and n != graph.output}
        drop(values, names, lambda view: self._place(tuple(view.shape), view.dtype).copy_(view))

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
        value = whole(self.quantized[node.inputs[0]])
        if isinstance(node.op, Linear):
            value = value.reshape(self.images, -1, value.shape[-1])
        for images in even_then_odd(self.images, max(value.numel(), whole(self.floats[node.name]).numel())):
            x = fake_quantize(self._room.fetched(value[images]), quant)
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
            return self._room.fetched(value.reshape(self.images, -1, own.shape[-1])[images].flatten(0, 1))

        target = rows(own)
        name, readers = node.name, graph.consumers()
        while len(readers[name]) == 1 and isinstance(readers[name][0].op, Reshape):
            name = readers[name][0].name
        if not residual or len(readers[name]) != 1 or not isinstance(readers[name][0].op, Add):
            return target
        other = next((n for n in readers[name][0].inputs if n != name), name)
        if other not in self.quantized or whole(self.quantized[other]).numel() != own.numel():
            return target
        return target + (rows(whole(self.floats[other])) - rows(whole(self.quantized[other])))


class _Readable(Mapping[str, Value]):
    """The values of the quantized model, fetched one by one."""

    def __init__(self, values: ValuesInFlight) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Value:
        return self._values.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values.quantized)

    def __len__(self) -> int:
        return len(self._values.quantized)
