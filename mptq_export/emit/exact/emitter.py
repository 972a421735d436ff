"""Walks the canonical graph backwards from what is asked for: codes by matmuls and tables, floats by sums and norms.

A value is emitted in the form its reader needs, once a form. Data movement is applied to the form that is read,
which is uint8 codes almost everywhere.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import onnx
import torch

from mptq_export.calibrate.sites import Operand, Site, sites
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import (
    Activation,
    Add,
    Concat,
    Constant,
    Depthwise,
    Input,
    LayerNorm,
    Linear,
    Matmul,
    Max,
    Mean,
    Mul,
    Op,
    Pad,
    PatchEmbed,
    Product,
    Rotary,
    Softmax,
    label,
)
from mptq_export.emit.annotate import annotate
from mptq_export.emit.builder import FLOAT, UINT8, OnnxBuilder, value_info
from mptq_export.emit.exact import (
    activation,
    attention,
    depthwise,
    elementwise,
    layer_norm,
    linear,
    movement,
    quantizer,
    residual,
)
from mptq_export.emit.exact.forms import Codes, Floats, Form
from mptq_export.emit.exact.proof import Proof
from mptq_export.quantize.certification.certify import Results
from mptq_export.quantize.simulation.fake_quantize import codes
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.support.errors import MptqError


class Emitter:
    """State of one emission.

    Attributes:
        shifted: of tensors of a residual stream, the tensors that hold them plus `SHIFT`.
    """

    def __init__(self, graph: Graph, recipe: Recipe, input_type: str, storage: str) -> None:
        self.graph = graph
        self.recipe = recipe
        self.input_type = input_type
        self.storage = storage
        self.onnx = OnnxBuilder()
        self.proof = Proof()
        self.readers = graph.consumers()
        self.sites: dict[str, Site] = {site.key: site for site in sites(graph)}
        self.shifted: dict[str, str] = {}
        self._linear_codes: dict[str, Codes] = {}
        self._products: dict[str, Floats] = {}  # of a matmul that readers want in several units
        self._floats: dict[tuple[str, int | None], Floats] = {}

    # -- what readers ask for -------------------------------------------------------------------------------------

    def codes(self, node: Node, operand: Operand) -> Codes:
        """The codes of one operand of `node`."""
        key = f"{node.name}.{operand}"
        value = node.inputs[1 if operand == "b" else 0]
        quant = self.recipe.activations[key]
        root, chain = self.graph.path(value)
        if isinstance(root.op, Linear | PatchEmbed) and linear.gives_codes(self, root):
            if root.name not in self._linear_codes:  # q, k and v read one Gemm
                self._linear_codes[root.name] = linear.emit_codes(self, root)
            base = self._linear_codes[root.name]
        elif type(root.op) in _CODES and f"{root.name}.output" not in self.sites:
            base = _CODES[type(root.op)](self, root, quant, key)
        elif isinstance(root.op, Matmul):
            base = attention.emit_context(self, root, quant, key)
        elif isinstance(root.op, Constant):
            base = self._constant_codes(root, quant, key)
        elif isinstance(root.op, LayerNorm):
            base = layer_norm.emit_codes(self, root, quant, key)
        else:
            x = self.floats(root.name, 0)
            step = quant.scale * 2.0**x.exponent
            base = self.coded(x.tensor, step, quant, key, x.flat, fused=False)
        zero = int(codes(torch.zeros(1), quant))
        moved = movement.apply(self, base, root, chain, zero)
        tensor = moved.tensor
        if (moved.low, moved.high) != (quant.low, quant.high):  # one Gemm whose readers have several widths
            tensor = quantizer.clip(self.onnx, tensor, quant.low, quant.high, f"{key}.codes")
        return Codes(tensor, quant.scale, quant.zero_point, quant.low, quant.high, moved.flat)

    def _constant_codes(self, node: Node, quant: ActivationQuant, name: str) -> Codes:
        """Codes of a value that depends on weights alone, as an initializer."""
        stored = codes(node.params["value"].cpu(), quant).to(torch.uint8).numpy()
        tensor = self.onnx.constant(f"{name}.codes", stored)
        return Codes(tensor, quant.scale, quant.zero_point, quant.low, quant.high, flat=False)

    def floats(self, value: str, exponent: int | None) -> Floats:
        """A value as float32 in units of 2 ** -exponent; None asks for the integers of its own grid."""
        wanted = self.recipe.exponents.get(value, 0) if exponent is None else exponent
        key = (value, exponent)
        if key not in self._floats:
            result = self._computed(value, wanted) if exponent is not None else self.floats(value, wanted)
            if exponent is None and not (result.integer and residual.has_exact_squares(self, value, result.bound)):
                result = residual.snap(self, result, value)
            self._floats[key] = result
        return self._floats[key]

    def coded(
        self,
        tensor: str,
        step: float,
        quant: ActivationQuant,
        name: str,
        flat: bool,
        *,
        fused: bool = True,
        results: Results | None = None,
    ) -> Codes:
        """The codes of a float tensor in which one code is `step`.

        onnxruntime makes an integer kernel of a matmul whose result is read by one QuantizeLinear, or by none. Where
        there can be more (`fused` is false, or regions), a product with a power of two stands between.
        """
        producer = self.onnx.producer(tensor)
        if producer in ("Gemm", "MatMul") and (quant.regions or not fused):
            tensor, step = self.onnx.one("Mul", [tensor, self.onnx.scalar(0.5)], f"{name}.half"), step / 2
        span = quantizer.EVERYTHING if results is None else results.reached(quant)
        codes = quantizer.quantize(self.onnx, tensor, step, quant, name, span)
        return Codes(codes, quant.scale, quant.zero_point, quant.low, quant.high, flat)

    def decoded(self, codes: Codes, name: str, exponent: int) -> Floats:
        """Codes as float32 in units of 2 ** -exponent."""
        # Half of a doubled step: with a product between, onnxruntime finds no DequantizeLinear to fuse with what
        # follows.
        step = codes.scale * 2.0 ** (exponent + 1)
        doubled = self.onnx.dequantize(codes.tensor, step, codes.zero_point, f"{name}.doubled{exponent}")
        tensor = self.onnx.one("Mul", [doubled, self.onnx.scalar(0.5)], f"{name}.x{exponent}")
        bound = max(codes.high - codes.zero_point, codes.zero_point - codes.low) * codes.scale * 2.0**exponent
        return Floats(tensor, exponent, bound, integer=False, flat=codes.flat)

    # -- shapes ---------------------------------------------------------------------------------------------------

    def flat(self, form: Form, node_name: str) -> Form:
        """The form as [rows, channels]."""
        if form.flat or len(self.graph[node_name].shape.dims) == 2:
            return replace(form, flat=True)
        width = self.graph[node_name].shape.dims[-1]
        return replace(form, tensor=self.onnx.reshape(form.tensor, [-1, width], f"{form.tensor}.rows"), flat=True)

    def full(self, form: Form, node_name: str) -> Form:
        """The form in the shape of its node."""
        shape = self.graph[node_name].shape
        if not form.flat or len(shape.dims) == 2:
            return replace(form, flat=False)
        tensor = self.onnx.reshape(form.tensor, shape.dynamic(), f"{form.tensor}.full")
        return replace(form, tensor=tensor, flat=False)

    # -- computing nodes ------------------------------------------------------------------------------------------

    def _computed(self, value: str, exponent: int) -> Floats:
        root, chain = self.graph.path(value)
        emit = _FLOATS.get(type(root.op))
        if emit is None:
            raise MptqError(
                f"{root.name}: a {label(root.op)} is read where float values are needed; this form is not supported"
            )
        if not isinstance(root.op, Linear | PatchEmbed | Matmul):
            return movement.apply(self, emit(self, root, exponent), root, chain)
        if root.name not in self._products:
            self._products[root.name] = emit(self, root, exponent)
        return movement.apply(self, self._in_units(self._products[root.name], exponent), root, chain)

    def _in_units(self, x: Floats, exponent: int) -> Floats:
        """The same in units of 2 ** -exponent: nothing is rounded."""
        factor = 2.0 ** (exponent - x.exponent)
        if factor == 1:
            return x
        tensor = self.onnx.one("Mul", [x.tensor, self.onnx.scalar(factor)], f"{x.tensor}.x{exponent}")
        return replace(x, tensor=tensor, exponent=exponent, bound=x.bound * factor)

    def finish(self, metadata: dict[str, str], producer: str) -> onnx.ModelProto:
        """Emit everything that the outputs need and return the model."""
        named = self.graph.maps or {"logits": self.graph.output}
        results = {name: self._output(value, name) for name, value in named.items()}
        for name, tensor in results.items():  # last: until here tensors are known by their first names
            self.onnx.rename_output(tensor, name)
        source = self.graph.input.shape.dynamic()
        if self.input_type == "uint8":
            dims, dtype = [source[0], source[2], source[3], source[1]], UINT8
        else:
            dims, dtype = source, FLOAT
        inputs = [value_info("input", dtype, dims)]
        outputs = [value_info(name, FLOAT, self.graph[value].shape.dynamic()) for name, value in named.items()]
        return self.onnx.model(inputs, outputs, metadata, producer)

    def _output(self, value: str, name: str) -> str:
        """The tensor of an output: float32 in its own units. What is on the residual's grid stays there."""
        root, chain = self.graph.path(value)
        if isinstance(root.op, Add | Pad) and root.name in self.recipe.exponents:
            whole = self._in_units(self.floats(root.name, None), 0)
            result = movement.apply(self, whole, root, chain)
        else:
            result = self.floats(value, 0)
        result = self.full(result, value)
        return self.onnx.one("Identity", [result.tensor], name) if result.tensor == "input" else result.tensor


def _emit_input(emitter: Emitter, node: Node, exponent: int) -> Floats:
    """The float32 input itself, of any size."""
    if emitter.input_type != "float32":
        raise MptqError(f"{node.name}: this model reads its input as floats; export without --input uint8")
    if exponent == 0:
        return Floats("input", 0, math.inf, integer=False, flat=False)
    tensor = emitter.onnx.one("Mul", ["input", emitter.onnx.scalar(2.0**exponent)], f"input.x{exponent}")
    return Floats(tensor, exponent, math.inf, integer=False, flat=False)


_CODES: dict[type[Op], Callable[[Emitter, Node, ActivationQuant, str], Codes]] = {
    Activation: activation.emit_codes,
    Depthwise: depthwise.emit_codes,
}

_FLOATS: dict[type[Op], Callable[[Emitter, Node, int], Floats]] = {
    Input: _emit_input,
    Linear: linear.emit_floats,
    PatchEmbed: linear.emit_floats,
    Depthwise: depthwise.emit_floats,
    LayerNorm: layer_norm.emit_floats,
    Add: residual.emit_add,
    Pad: residual.emit_pad,
    Mean: residual.emit_mean,
    Matmul: attention.emit_context_floats,
    Activation: activation.emit_floats,
    Softmax: attention.emit_softmax_floats,
    Mul: elementwise.emit_mul,
    Product: elementwise.emit_product,
    Rotary: elementwise.emit_rotary,
    Concat: elementwise.emit_concat,
    Max: elementwise.emit_max,
}


#: Calls that lie between a node and the nodes before it, at most.
_CALLS = 20


@contextmanager
def _deep_calls(nodes: int) -> Iterator[None]:
    """Room for as many nested calls as the longest path of a graph asks for."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + _CALLS * nodes)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def emit(
    graph: Graph,
    recipe: Recipe,
    *,
    input_type: str,
    metadata: dict[str, str],
    producer: str,
    storage: str = "packed",
) -> onnx.ModelProto:
    """Emit a recipe as an ONNX model and fill the recipe's proof.

    Args:
        graph: the prepared graph that the recipe was made for.
        recipe: all decisions.
        input_type: `float32` (normalised NCHW) or `uint8` (raw NHWC pixels).
        metadata: stored in the file's metadata_props.
        producer: version of this program.
        storage: `packed` (codes at their own width) or `int8`.

    Returns:
        A checked model with inferred shapes: input `input`, output `logits` or one a feature map, dynamic batch.

    Raises:
        MptqError: a layer cannot be proved exact, or an op has no integer form where it stands.
    """
    emitter = Emitter(graph, recipe, input_type, storage)
    for key, site in emitter.sites.items():
        quantizer.prove_quantizer(emitter.proof, site.node.name, key, recipe.activations[key])
    with _deep_calls(len(graph.nodes)):
        model = emitter.finish(metadata, producer)
    annotate(model, graph, recipe)
    recipe.proof = emitter.proof.claims
    return model
