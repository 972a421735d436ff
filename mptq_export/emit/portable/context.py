"""What handlers of the portable form ask for: a value as its readers get it, and codes around what they compute."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import takewhile

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.capture.graph import NCHW, Graph, Node, Shape
from mptq_export.capture.ops import Matmul, Op, Permute, Reshape, Roll, Slice
from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.emission import Emission
from mptq_export.emit.movement import move
from mptq_export.emit.portable.values import Tensor, code_type
from mptq_export.emit.stored_once import weight_names
from mptq_export.emit.value import AnyValue
from mptq_export.quantize.portable.ranges import of_parameter
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.quantize.simulation.fake_quantize import codes
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.recipe.settings import InputType
from mptq_export.targets.portable import PortableForm
from mptq_export.transform.channels import is_permutation
from mptq_export.transform.few_axes import MOST_AXES

Handler = Callable[["PortableContext", Node], Tensor]
"""Emits the value of a node."""


#: Axes of rows: HTP wants the tokens of a map by way of [B, C, H W].
_ROWS = 3


class PortableContext(Emission):
    """State of one emission in the portable form.

    Attributes:
        recipe: all decisions.
        where: where the graph has codes.
        table: how each op is emitted.
        weight_names: what the weight of every layer is called in the file.
        maps: what convolutions gave, channels first, by the name of their node.
    """

    def __init__(
        self,
        graph: Graph,
        recipe: Recipe,
        where: PortableSites,
        table: Mapping[type[Op], Handler],
        *,
        input_type: InputType,
    ) -> None:
        super().__init__(graph, input_type, OnnxBuilder(where.form.opset, where.form.ir))
        self.recipe = recipe
        self.where = where
        self.table = table
        self.weight_names = weight_names(graph, recipe)
        self.maps: dict[str, Tensor] = {}

    @property
    def form(self) -> PortableForm:
        """How the file is written."""
        return self.where.form

    def read(self, node: Node, position: int = 0) -> Tensor:
        """An input of a node as it is computed with: in the codes of the value, or in those of the reader."""
        last = self.graph[node.inputs[position]]
        if isinstance(node.op, Matmul) and position == 1 and isinstance(last.op, Permute) and not self.form.everywhere:
            return self._transposed_factor(node, last, last.op.perm)
        return self.converted(node, position, self.read_value(last.name))

    def converted(self, node: Node, position: int, value: Tensor) -> Tensor:
        """An input of a node, moved or not, in the codes that the node reads."""
        if not self.where.reads(node, position):
            return value
        key = self.where.key(node, position)
        assert key is not None
        return self.coded(value, self.recipe.activations[key], key)

    def _transposed_factor(self, node: Node, last: Node, perm: tuple[int, ...]) -> Tensor:
        """The second factor of a product, whose last movement is a permutation, in the codes of the product.

        OpenVINO multiplies by a transposed matrix at no cost where the transposition of the last two axes stands right
        in front of the product: so codes are made before it.
        """
        rows = (*perm[:-2], perm[-1], perm[-2])
        if rows[-1] != len(perm) - 1:  # no transposition of rows
            return self.converted(node, 1, self.read_value(last.name))
        value = self.unflatten(self.read_value(last.inputs[0]), last.inputs[0])
        if rows != tuple(range(len(perm))):
            value = self.moved(value, lambda t: self.onnx.one("Transpose", [t], f"{last.name}.rows", perm=list(rows)))
        swap = [*range(len(perm) - 2), len(perm) - 1, len(perm) - 2]
        coded = self.converted(node, 1, value)
        return self.moved(coded, lambda tensor: self.onnx.one("Transpose", [tensor], last.name, perm=swap))

    def read_value(self, value: str) -> Tensor:
        """A value of the graph, moved or not."""

        def emit() -> Tensor:
            root, chain = self.graph.path(value)
            computed = self.once(root.name, lambda: self._computed(root))
            lowered = [self.lowered(step) for step in chain]
            if root.name in self.maps:
                for at in range(len(chain), 0, -1):
                    if is_permutation(chain[:at], root, NCHW):
                        return move(self, self.maps[root.name], chain[at - 1], _joined(lowered[at:]))
                if chain and _merges_map(root, chain[0]):
                    return move(self, self._tokens(root, chain[0]), chain[0], _joined(lowered[1:]))
                if _makes_rows(chain):
                    tokens = _as_tokens(root)
                    return move(self, self._tokens(root, tokens), tokens, _joined(lowered))
            return move(self, computed, root, _joined(lowered))

        return self.once(("value", value), emit)

    def _tokens(self, root: Node, merged: Node) -> Tensor:
        """A map that a convolution gave as tokens [B, H W, C]: reshaped first, as HTP wants it, then transposed."""
        batch, height, width, channels = self.sizes(root.shape)
        sizes = [batch, channels, height * width]
        flat = self.reshape(self.maps[root.name], sizes, f"{merged.name}.flat")
        return self.moved(flat, lambda t: self.onnx.one("Transpose", [t], merged.name, perm=[0, 2, 1]))

    def read_output(self, value: str) -> Tensor:
        """The value of an output of the graph."""
        return self.read_value(value)

    def read_rows(self, node: Node, position: int = 0) -> Tensor:
        """An input of a node as [rows, channels]."""
        return self.flatten(self.read(node, position), node.inputs[position])

    def read_full(self, node: Node, position: int = 0) -> Tensor:
        """An input of a node in its own shape."""
        return self.unflatten(self.read(node, position), node.inputs[position])

    def _computed(self, node: Node) -> Tensor:
        value = self.handler(self.table, node, "values")(self, node)
        site = f"{node.name}.output"
        if value.quant is not None or not self.where.has_result(node):
            return value
        return self.coded(value, self.recipe.activations[site], site)

    def coded(self, value: Tensor, quant: ActivationQuant, name: str) -> Tensor:
        """A value behind QuantizeLinear and DequantizeLinear."""
        return replace(value, tensor=self.code(value.tensor, quant, name), quant=quant)

    def code(self, tensor: str, quant: ActivationQuant, name: str) -> str:
        """A float tensor behind QuantizeLinear and DequantizeLinear."""
        parameters = self._parameters(quant)
        stored = self.onnx.one("QuantizeLinear", [tensor, *parameters], f"{name}.codes")
        return self.onnx.one("DequantizeLinear", [stored, *parameters], f"{name}.value")

    def constant(self, name: str, value: torch.Tensor, quant: ActivationQuant | None) -> str:
        """A constant: float32, or codes of a quantizer behind a DequantizeLinear.

        Codes are of one reader: HTP knows one scale for a stored tensor, and takes it for all who read it.
        """
        if quant is None:
            return self.onnx.constant(name, value.float().numpy())
        stored: NDArray[np.generic] = codes(value.float().cpu(), quant).numpy().astype(code_type(quant))
        return self.onnx.one(
            "DequantizeLinear", [self.onnx.own_constant(f"{name}.codes", stored), *self._parameters(quant)], name
        )

    def factor(self, node: Node) -> str:
        """The constant of a product: codes of the width of the product where everything has codes."""
        value = node.params["value"]
        quant = of_parameter(self.form, value, self.where.result_bits(node)) if self.form.everywhere else None
        return self.constant(f"{node.name}.factor", value, quant)

    def _parameters(self, quant: ActivationQuant) -> list[str]:
        """Scale and zero point of a quantizer."""
        return [self.onnx.scalar(quant.scale), self.onnx.scalar(quant.zero_point, code_type(quant))]

    def sizes(self, shape: Shape) -> list[int]:
        """Sizes of a value; with the batch of one where shapes are fixed."""
        if not self.form.fixed_batch:
            return shape.dynamic()
        return list(shape.at(1))[self.dropped(shape) :]

    def dropped(self, shape: Shape) -> int:
        """Axes that a tensor lacks in front: the one image, where there would be more axes than accelerators have."""
        return int(
            self.form.fixed_batch and len(shape.dims) > MOST_AXES and shape.batch_axis == 0 and shape.dims[0] == 1
        )

    def lowered(self, step: Node) -> Node:
        """Data movement without the axis that its value lacks."""
        drop, op = self.dropped(step.shape), step.op
        if not drop:
            return step
        shape = Shape(step.shape.dims[drop:], None)
        if isinstance(op, Permute):
            return replace(step, shape=shape, op=Permute(tuple(axis - drop for axis in op.perm[drop:])))
        if isinstance(op, Slice):
            return replace(step, shape=shape, op=replace(op, axis=op.axis - drop))
        if isinstance(op, Roll):
            return replace(step, shape=shape, op=replace(op, axes=tuple(axis - drop for axis in op.axes)))
        return replace(step, shape=shape)

    def reshape(self, value: AnyValue, sizes: list[int], name: str) -> AnyValue:
        """A value in another shape, in the same codes."""
        return self.moved(value, lambda tensor: self.onnx.one("Reshape", [tensor, self.onnx.shape(sizes)], name))

    def moved(self, value: AnyValue, move: Callable[[str], str]) -> AnyValue:
        """A value behind data movement: every tensor on the way has its codes."""
        if not isinstance(value, Tensor) or value.quant is None or not self.form.everywhere:
            return replace(value, tensor=move(value.tensor))
        quant = value.quant
        with self.onnx.followed(lambda tensor: self.code(tensor, quant, tensor)):
            return replace(value, tensor=move(value.tensor))

    def cut(self, tensor: str, sizes: list[int], axis: int, name: str) -> list[str]:
        """The pieces of a tensor, a Slice each: of two rolls in Splits HTP gives another order, without a word."""
        ends = np.cumsum(sizes).tolist()
        bounds = [[end - size, end, axis] for end, size in zip(ends, sizes, strict=True)]
        return [
            self.onnx.one("Slice", [tensor, *(self.onnx.shape([at]) for at in each)], f"{name}_{position}")
            for position, each in enumerate(bounds)
        ]

    def flatten(self, value: AnyValue, node_name: str) -> AnyValue:
        """As in any form; what was cut into rows before is not reshaped twice."""
        found: AnyValue = self.once(
            ("rows", value.tensor), lambda: super(PortableContext, self).flatten(value, node_name)
        )
        return found

    def unflatten(self, value: AnyValue, node_name: str) -> AnyValue:
        """As in any form."""
        full = super().unflatten(value, node_name)
        if value.flat and not full.flat:
            self.once(("rows", full.tensor), lambda: value)
        return full


def _merges_map(before: Node, step: Node) -> bool:
    """Whether a step makes tokens [B, H W, C] of a map."""
    batch, height, width, channels = before.shape.dims
    return isinstance(step.op, Reshape) and step.shape.dims == (batch, height * width, channels)


def _makes_rows(chain: list[Node]) -> bool:
    """Whether movement begins with other rows of a map than tokens: its channels cut in groups, or by anchors."""
    reshapes = list(takewhile(lambda step: isinstance(step.op, Reshape), chain))
    return bool(reshapes) and len(reshapes[-1].shape.dims) == _ROWS


def _as_tokens(before: Node) -> Node:
    """The step that makes tokens [B, H W, C] of a map."""
    batch, height, width, channels = before.shape.dims
    shape = Shape((batch, height * width, channels), before.shape.batch_axis)
    return Node(Reshape(), f"{before.name}.tokens", (before.name,), shape)


def _joined(steps: list[Node]) -> list[Node]:
    """Data movement with one reshape where several stand one behind the other."""
    reshapes = [isinstance(step.op, Reshape) for step in steps]
    return [step for at, step in enumerate(steps) if not all(reshapes[at : at + 2]) or at == len(steps) - 1]
