"""What handlers of the exact form ask for: codes of an operand, a value as floats, or as whole steps of its grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from mptq_export.calibrate.sites import Operand, Site, sites
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Op, Pad
from mptq_export.emit.emission import Emission
from mptq_export.emit.exact.grid import has_exact_squares, snap
from mptq_export.emit.exact.proof import Proof
from mptq_export.emit.exact.quantizer import clip
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.emit.exact.weight_storage import StoreWeight, store_packed
from mptq_export.emit.movement import move
from mptq_export.emit.stored_once import weight_names
from mptq_export.quantize.simulation.fake_quantize import codes
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.recipe.settings import InputType

CodesHandler = Callable[["Context", Node, ActivationQuant, str], Codes]
"""Emits the value of a node as the codes of a quantizer, for the site of that key."""

FloatsHandler = Callable[["Context", Node, int], Floats]
"""Emits the value of a node as float32 in units of 2 ** -exponent."""


@dataclass(frozen=True)
class Tables:
    """How each op is emitted, by the representation that its reader needs; movement is seen through.

    Attributes:
        codes: op to what emits it as codes.
        floats: op to what emits it as floats.
    """

    codes: Mapping[type[Op], CodesHandler]
    floats: Mapping[type[Op], FloatsHandler]


class Context(Emission):
    """State of one emission in the exact form.

    A value is emitted as its reader needs it, once a representation. Data movement is applied to what is read, which is
    uint8 codes almost everywhere.

    Attributes:
        recipe: all decisions.
        tables: how each op is emitted.
        store: how weight codes are stored.
        proof: the claims so far.
        sites: where the graph is quantized, by the site's key.
        weight_names: what the weight of every layer is called in the file.
        shifted: of tensors of a residual stream, the tensors that hold them plus `SHIFT`.
    """

    def __init__(
        self, graph: Graph, recipe: Recipe, tables: Tables, *, input_type: InputType, store: StoreWeight = store_packed
    ) -> None:
        super().__init__(graph, input_type)
        self.recipe = recipe
        self.tables = tables
        self.store = store
        self.proof = Proof()
        self.sites: dict[str, Site] = {site.key: site for site in sites(graph)}
        self.weight_names = weight_names(graph, recipe)
        self.shifted: dict[str, str] = {}

    def read_codes(self, node: Node, operand: Operand) -> Codes:
        """The codes of one operand of `node`."""
        return self.read_codes_of(node.inputs[1 if operand == "b" else 0], f"{node.name}.{operand}")

    def read_codes_of(self, value: str, key: str) -> Codes:
        """The codes of a value by the quantizer of the site of that key."""
        quant = self.recipe.activations[key]
        root, chain = self.graph.path(value)
        emitted = self.handler(self.tables.codes, root, "codes")(self, root, quant, key)
        moved = move(self, emitted, root, chain, zero=int(codes(torch.zeros(1), quant)))
        tensor = moved.tensor
        if (moved.low, moved.high) != (quant.low, quant.high):  # one Gemm whose readers have several widths
            tensor = clip(self.onnx, tensor, quant.low, quant.high, f"{key}.codes")
        return Codes.of(quant, tensor, flat=moved.flat)

    def read_floats(self, value: str, exponent: int) -> Floats:
        """A value as float32 in units of 2 ** -exponent."""

        def emit() -> Floats:
            root, chain = self.graph.path(value)
            return move(self, self.handler(self.tables.floats, root, "float values")(self, root, exponent), root, chain)

        return self.once(("floats", value, exponent), emit)

    def read_integers(self, value: str) -> Floats:
        """A value as whole float32 numbers, steps of its own grid, whose squares can be added up exactly."""

        def emit() -> Floats:
            floats = self.read_floats(value, self.recipe.exponents.get(value, 0))
            width = self.graph[value].shape.dims[-1]
            if floats.integer and has_exact_squares(width, floats.bound):
                return floats
            return snap(self.onnx, self.proof, floats, value, width)

        return self.once(("integers", value), emit)

    def read_output(self, value: str) -> Floats:
        """The value of an output, in its own units. What is on the residual's grid stays there."""
        root, chain = self.graph.path(value)
        if isinstance(root.op, Add | Pad) and root.name in self.recipe.exponents:
            return move(self, self.rescale(self.read_integers(root.name), 0), root, chain)
        return self.read_floats(value, 0)

    def share_product(self, node: Node, exponent: int, emit: FloatsHandler) -> Floats:
        """What a matmul gives as floats: readers that want it in several units share one kernel."""
        product = self.once(("product", node.name), lambda: emit(self, node, exponent))
        return self.rescale(product, exponent)

    def rescale(self, x: Floats, exponent: int) -> Floats:
        """The same in units of 2 ** -exponent: nothing is rounded."""
        factor = 2.0 ** (exponent - x.exponent)
        if factor == 1:
            return x
        tensor = self.onnx.one("Mul", [x.tensor, self.onnx.scalar(factor)], f"{x.tensor}.x{exponent}")
        return replace(x, tensor=tensor, exponent=exponent, bound=x.bound * factor)
