"""Translation of an exported program, node by node, into the canonical graph.

What depends on weights alone (interpolated position tables, relative position bias) is computed here once and
becomes a constant. Every remaining op must have a handler in the table that the tracer is given; an op without one
stops the export with its name and its module.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.metadata import check_sizes, line_of, module_path, one_image, place_of, shape_of
from mptq_export.capture.ops import Constant, Input, Op, Outputs, Weighted, label
from mptq_export.capture.regions import region_of
from mptq_export.recipe.outputs import LOGITS, Output
from mptq_export.support.errors import MptqError

Handler = Callable[["Tracer", fx.Node], Any]
"""Translates a node: to the name of a value, a tuple of names, or an object that only the next handler reads."""

#: Ops that draw random numbers in training only.
_NOTHING_RANDOM = (
    torch.ops.aten.dropout.default,
    torch.ops.aten.dropout_.default,
    torch.ops.aten.scaled_dot_product_attention.default,
)


class Tracer:
    """Walks an exported program; handlers add canonical nodes through it."""

    def __init__(self, program: torch.export.ExportedProgram, handlers: Mapping[Any, Handler]) -> None:
        self.handlers = handlers
        self.nodes: list[Node] = []
        self.by_name: dict[str, Node] = {}
        self.values: dict[fx.Node, Any] = {}  # fx node -> canonical value name(s), or an eager constant
        self.named: dict[fx.Node, str] = {}  # constants that have a canonical node
        self.fx_nodes = list(program.graph.nodes)
        state = {**program.state_dict, **program.constants}
        signature = program.graph_signature
        self._targets = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self.bound = {name: state[target].detach() for name, target in self._targets.items()}

    def run(self, given: tuple[Output, ...] = LOGITS) -> Graph:
        """Translate every node and return the graph; `given` says what the program's outputs are."""
        output = ""
        for node in self.fx_nodes:
            if node.op == "placeholder":
                if node.name in self.bound:
                    tensor = self.bound[node.name]
                    self.values[node] = tensor.float() if tensor.is_floating_point() else tensor
                elif isinstance(node.meta.get("val"), torch.Tensor):
                    self.values[node] = self.add(Input(), "input", (), shape_of(node))
                else:
                    raise MptqError(
                        f"the model reads {node.name}, an object that is no tensor (such as a generator of random "
                        "numbers); such a model cannot be exported"
                    )
            elif node.op == "output":
                output = self.outputs(node.args[0], given)
            elif node.op == "call_function":
                self.values[node] = self.translate(node)
        return Graph(self.nodes, output).pruned()

    def outputs(self, results: Any, given: tuple[Output, ...]) -> str:
        """The value of the logits, where there is nothing else, or all that the model gives as one value."""
        found = list(results) if isinstance(results, (tuple, list)) else []
        if len(found) != len(given):
            raise MptqError(f"the model returns {len(found)} tensors, not the {len(given)} that are asked for")
        values = tuple(self.value(result) for result in found)
        if given == LOGITS:
            return values[0]
        shapes = [self.by_name[value].shape for value in values]
        for each, shape in zip(given, shapes, strict=True):
            if shape.batch_axis is None:
                raise MptqError(f"the output {each.name} does not depend on the images; leave it out (--outputs)")
            if shape.batch_axis != 0:
                raise MptqError(
                    f"the batch is not the first axis of the output {each.name}, but axis {shape.batch_axis}; put it "
                    "first in the model, or leave this output out (--outputs)"
                )
        size = sum(math.prod(shape.dims) for shape in shapes)
        return self.add(Outputs(given), "outputs", values, Shape((1, size)))

    def translate(self, node: fx.Node) -> Any:
        """The canonical value of one fx node: a name, a tuple of names, or an eager constant."""
        if node.target is operator.getitem:
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        if not isinstance(node.meta.get("val"), (torch.Tensor, tuple, list)):
            return None  # symbolic sizes and assertions: shapes are read from the metadata instead
        region = region_of(node)
        if region is not None:
            return self.region(*region)
        check_sizes(node)
        inputs = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), (torch.Tensor, tuple, list))]
        if all(isinstance(self.values[n], (torch.Tensor, tuple, list)) and self.is_constant(n) for n in inputs):
            return self.evaluate(node)
        handler = self.handlers.get(node.target)
        if handler is None:
            raise MptqError(
                f"{place_of(node)} uses {node.target}, which has no place in an integer transformer graph; this "
                "architecture is not supported"
            )
        first = len(self.nodes)
        try:
            value = handler(self, node)
        except MptqError as error:
            line = line_of(node)
            if line is None or str(line) in str(error):
                raise
            raise MptqError(f"{error} ({line})") from error
        self._note_weights(node, first)
        return value

    def _note_weights(self, node: fx.Node, first: int) -> None:
        """Say of the layers from the node `first` on, which an fx node gave, which tensors their weights are."""
        layers = [n for n, made in enumerate(self.nodes[first:], first) if isinstance(made.op, Weighted)]
        origins: dict[str, None] = {}
        pending = [source for source in node.all_input_nodes if layers and self.is_constant(source)]
        while pending:
            source = pending.pop()
            if source.name in self._targets:
                origins[self._targets[source.name]] = None
            pending += source.all_input_nodes
        for position in layers:
            made = replace(self.nodes[position], weights_of=tuple(sorted(origins)))
            self.nodes[position] = self.by_name[made.name] = made

    def region(self, nodes: list[fx.Node], given: dict[fx.Node, Any]) -> tuple[Any, ...]:
        """The results of a part that torch keeps as a graph of its own; see `region_of`."""
        for node in nodes:
            if node.op == "placeholder":
                passed = given[node]
                self.values[node] = self.values[passed] if isinstance(passed, fx.Node) else passed
            elif node.op == "call_function":
                self.values[node] = self.translate(node)
        return tuple(self.values[result] for result in nodes[-1].args[0])  # type: ignore[union-attr, index]

    def is_constant(self, node: fx.Node) -> bool:
        """Whether the value depends on weights alone."""
        value = self.values[node]
        return isinstance(value, torch.Tensor) or (
            isinstance(value, (tuple, list)) and all(isinstance(v, torch.Tensor) for v in value)
        )

    def evaluate(self, node: fx.Node) -> Any:
        """Run a node whose inputs are constants, for a batch of one: broadcasting repeats the result."""
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and node.target not in _NOTHING_RANDOM:
            raise MptqError(
                f"{module_path(node) or 'the model'} draws random numbers ({node.target}), so that it gives another "
                "result every time; give it fixed ones (such as the noise of a masked autoencoder)"
            )
        args = fx.node.map_arg(node.args, self._concrete)
        kwargs = fx.node.map_arg(node.kwargs, self._concrete)
        with torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]

    def _concrete(self, node: fx.Node) -> Any:
        size = node.meta.get("val")
        return one_image(size) if isinstance(size, torch.SymInt) else self.values[node]

    def value(self, node: Any) -> str:
        """Canonical name of an fx node's value; constants get a node on first use."""
        value = self.values[node]
        if isinstance(value, torch.Tensor):
            shape = Shape(tuple(value.shape), None)
            if node not in self.named:
                params = {"value": value.float().contiguous()}
                self.named[node] = self.add(Constant(), node.name, (), shape, params=params)
            return self.named[node]
        if isinstance(node.meta.get("val"), torch.SymInt):
            users = [*(user for user in node.users if module_path(user)), *node.users]
            where = place_of(users[0]) if users else "the model"
            raise MptqError(f"{where} computes with the number of images of a batch; such a model cannot be exported")
        if not isinstance(value, str):
            raise MptqError(f"{place_of(node)}: the result of {node.target} is not supported where it is read")
        return value

    def constant(self, node: Any) -> torch.Tensor:
        """The tensor of a constant fx node (a weight, or computed from weights)."""
        value = self.values[node]
        if not isinstance(value, torch.Tensor):
            raise MptqError(f"{place_of(node)}: {node.target} must depend on weights only")
        return value.float()

    def add(
        self,
        op: Op,
        name: str,
        inputs: tuple[str, ...],
        shape: Shape,
        params: dict[str, torch.Tensor] | None = None,
    ) -> str:
        """Append a canonical node and return its (made unique) name: that of the op where the model itself runs it."""
        name = name or label(op)
        unique, count = name, 1
        while unique in self.by_name:
            count += 1
            unique = f"{name}_{count}"
        self.by_name[unique] = Node(op, unique, inputs, shape, params or {})
        self.nodes.append(self.by_name[unique])
        return unique
