"""`torch.export` of a model, and its translation node by node into the canonical graph.

What depends on weights alone (interpolated position tables, relative position bias) is computed here once and
becomes a constant. Every remaining op must have a place in the table of `mptq_export.capture.aten`; an op without
one stops the export with its name and its module.
"""

import copy
import logging
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Constant, Input, Op, Outputs
from mptq_export.support.errors import MptqError

Handler = Callable[["Tracer", fx.Node], Any]
"""Translates a node: to the name of a value, a tuple of names, or an object that only the next handler reads."""


def capture(model: torch.nn.Module, input_size: tuple[int, int, int], maps: tuple[str, ...] = ()) -> Graph:
    """Capture a timm model in eval mode as a canonical graph.

    Args:
        model: float32 model; maps [B, C, H, W] float32 to one tensor, or to a list of feature maps.
        input_size: (C, H, W) in pixels.
        maps: names of the feature maps; empty for a model that gives one tensor.

    Returns:
        The graph before any transform; its values equal the model's.

    Raises:
        MptqError: `torch.export` cannot trace the model, or an op has no canonical form.
    """
    from mptq_export.capture.aten import HANDLERS

    example = torch.zeros(2, *input_size)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch").setLevel(logging.ERROR)
        try:
            program = torch.export.export(own(model), (example,), dynamic_shapes=({0: batch},), strict=False)
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            advice = "the model's forward must be free of data-dependent Python control flow"
            if "Constraints violated" in first:
                advice = "the model's forward must take any number of images, and not mix those of a batch"
            raise MptqError(f"{type(model).__name__} cannot be captured by torch.export: {first}; {advice}") from error
    return Tracer(program, HANDLERS).run(maps)


def own(model: torch.nn.Module) -> torch.nn.Module:
    """The model with the same weights and modules of its own: some keep what tracing computes (LeViT, ConViT)."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


class Tracer:
    """Walks an exported program; handlers add canonical nodes through it."""

    def __init__(self, program: torch.export.ExportedProgram, handlers: dict[Any, Handler]) -> None:
        self.handlers = handlers
        self.nodes: list[Node] = []
        self.by_name: dict[str, Node] = {}
        self.values: dict[fx.Node, Any] = {}  # fx node -> canonical value name(s), or an eager constant
        self.named: dict[fx.Node, str] = {}  # constants that have a canonical node
        self.fx_nodes = list(program.graph.nodes)
        state = {**program.state_dict, **program.constants}
        signature = program.graph_signature
        self.bound = {
            name: state[target].detach()
            for table in (
                signature.inputs_to_parameters,
                signature.inputs_to_buffers,
                signature.inputs_to_lifted_tensor_constants,
            )
            for name, target in table.items()
        }

    def run(self, maps: tuple[str, ...] = ()) -> Graph:
        """Translate every node and return the graph; `maps` names its outputs where they are feature maps."""
        output = ""
        for node in self.fx_nodes:
            if node.op == "placeholder":
                if node.name in self.bound:
                    self.values[node] = (
                        self.bound[node.name].float() if _is_float(self.bound[node.name]) else self.bound[node.name]
                    )
                else:
                    self.values[node] = self.add(Input(), "input", (), shape_of(node))
            elif node.op == "output":
                output = self.outputs(node.args[0], maps)
            elif node.op == "call_function":
                self.values[node] = self.translate(node)
        return Graph(self.nodes, output).pruned()

    def outputs(self, results: Any, maps: tuple[str, ...]) -> str:
        """The one value that the model returns, or all of its feature maps as one."""
        found = list(results) if isinstance(results, (tuple, list)) else []
        if len(found) != (len(maps) or 1):
            raise MptqError("the model returns several tensors; only one output, or feature maps, can be exported")
        values = tuple(self.value(result) for result in found)
        if not maps:
            return values[0]
        shapes = [self.shape(result) for result in found]
        if any(shape.batch_axis != 0 for shape in shapes):
            raise MptqError("the model's feature maps do not have the batch as their first axis")
        size = sum(math.prod(shape.dims) for shape in shapes)
        return self.add(Outputs(names=maps), "features", values, Shape((1, size)))

    def translate(self, node: fx.Node) -> Any:
        """The canonical value of one fx node: a name, a tuple of names, or an eager constant."""
        if node.target is operator.getitem:
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        if not isinstance(node.meta.get("val"), (torch.Tensor, tuple, list)):
            return None  # symbolic sizes and assertions: shapes are read from the metadata instead
        _check_sizes(node)
        inputs = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), (torch.Tensor, tuple, list))]
        if all(isinstance(self.values[n], (torch.Tensor, tuple, list)) and self.is_constant(n) for n in inputs):
            return self.evaluate(node)
        handler = self.handlers.get(node.target)
        if handler is None:
            raise MptqError(
                f"{module_path(node) or 'the model'} uses {node.target}, which has no place in an integer transformer "
                "graph; this architecture is not supported"
            )
        return handler(self, node)

    def is_constant(self, node: fx.Node) -> bool:
        """Whether the value depends on weights alone."""
        value = self.values[node]
        return isinstance(value, torch.Tensor) or (
            isinstance(value, (tuple, list)) and all(isinstance(v, torch.Tensor) for v in value)
        )

    def evaluate(self, node: fx.Node) -> Any:
        """Run a node whose inputs are constants, for a batch of one: broadcasting repeats the result."""
        args = fx.node.map_arg(node.args, self._concrete)
        kwargs = fx.node.map_arg(node.kwargs, self._concrete)
        with torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]

    def _concrete(self, node: fx.Node) -> Any:
        size = node.meta.get("val")
        return _one_image(size) if isinstance(size, torch.SymInt) else self.values[node]

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
            where = next((module_path(user) for user in node.users if module_path(user)), "the model")
            raise MptqError(f"{where} computes with the number of images of a batch; such a model cannot be exported")
        if not isinstance(value, str):
            raise MptqError(f"{module_path(node)}: the result of {node.target} is not supported where it is read")
        return value

    def shape(self, node: Any) -> Shape:
        """Shape of an fx node's value for one image."""
        return shape_of(node)

    def constant(self, node: Any) -> torch.Tensor:
        """The tensor of a constant fx node (a weight, or computed from weights)."""
        value = self.values[node]
        if not isinstance(value, torch.Tensor):
            raise MptqError(f"{module_path(node)}: {node.target} must depend on weights only")
        return value.float()

    def add(
        self,
        op: Op,
        name: str,
        inputs: tuple[str, ...],
        shape: Shape,
        params: dict[str, torch.Tensor] | None = None,
    ) -> str:
        """Append a canonical node and return its (made unique) name."""
        unique, count = name, 1
        while unique in self.by_name:
            count += 1
            unique = f"{name}_{count}"
        self.by_name[unique] = Node(op, unique, inputs, shape, params or {})
        self.nodes.append(self.by_name[unique])
        return unique


def module_path(node: fx.Node) -> str:
    """Dotted path of the module that ran the node, as timm names it."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def shape_of(node: fx.Node) -> Shape:
    """Shape of an fx node for one image."""
    return shape_from(node.meta["val"].shape)


def shape_from(sizes: Any) -> Shape:
    """Replace the symbolic batch by one and remember its axis."""
    dims: list[int] = []
    axis: int | None = None
    for i, size in enumerate(sizes):
        if isinstance(size, torch.SymInt):
            dims.append(_one_image(size))
            axis = i
        else:
            dims.append(int(size))
    return Shape(tuple(dims), axis)


def _check_sizes(node: fx.Node) -> None:
    """Refuse a value with two axes that grow with the batch, or one that does not grow as the number of images does."""
    value = node.meta["val"]
    for tensor in value if isinstance(value, (tuple, list)) else (value,):
        sizes = [size for size in getattr(tensor, "shape", ()) if isinstance(size, torch.SymInt)]
        if len(sizes) > 1 or any(_images(size, 5) != 5 * _images(size, 1) for size in sizes):
            raise MptqError(
                f"{module_path(node) or 'the model'}: {node.target} gives a value of sizes "
                f"{' x '.join(map(str, tensor.shape))}, which do not grow as the number of images does: images of a "
                "batch are mixed here, and such a model cannot be exported; if this is attention, check the order of "
                "its axes (batch_first)"
            )


def _one_image(size: torch.SymInt) -> int:
    """A size that depends on the batch, for a batch of one."""
    return _images(size, 1)


def _images(size: torch.SymInt, batch: int) -> int:
    """A size that depends on the batch, for so many images."""
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, batch)))


def _is_float(tensor: torch.Tensor) -> bool:
    return tensor.dtype.is_floating_point
