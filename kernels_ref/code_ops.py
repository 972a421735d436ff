"""Recognises ops between DequantizeLinear and QuantizeLinear that a runtime computes on the codes themselves.

    DequantizeLinear(a), DequantizeLinear(b) -> Add -> QuantizeLinear      QLinearAdd

As measured with onnxruntime 1.32 on x86-64: every input is dequantized, all codes are held in one 8-bit type, on one
scale each, and nothing but the QuantizeLinear reads the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kernels_ref.constants import Constants
from kernels_ref.model import Graph, Node
from kernels_ref.ops.table import CLAIMS, OPS
from kernels_ref.ops.types import Array
from kernels_ref.readers import Readers
from kernels_ref.signed import Signed

#: ONNX's op, and the op on codes.
CODE_OPS = {
    "Add": "QLinearAdd",
    "AveragePool": "QLinearAveragePool",
    "Concat": "QLinearConcat",
    "GlobalAveragePool": "QLinearGlobalAveragePool",
    "LeakyRelu": "QLinearLeakyRelu",
    "Mul": "QLinearMul",
    "Sigmoid": "QLinearSigmoid",
    "Softmax": "QLinearSoftmax",
}


@dataclass(frozen=True)
class CodeOp:
    """One op on codes.

    Attributes:
        op: its name.
        node: the node that computes the floats.
        codes_node: the QuantizeLinear after it.
        inputs: those of the op; constants are values, in the type in which the runtime holds them.
        named: the same with the names of constant codes.
        raised: which inputs are int8 codes that the runtime holds as uint8.
        lowered: whether the result is held so too.
    """

    op: str
    node: Node
    codes_node: Node
    inputs: tuple[str | Array, ...]
    named: tuple[str | Array, ...]
    raised: frozenset[str]
    lowered: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that `__call__` takes, each once."""
        return tuple(dict.fromkeys(name for name in self.inputs if isinstance(name, str)))

    def __call__(self, *values: Array) -> tuple[Array, ...]:
        """The codes."""
        (result,) = OPS[self.op](self._held(values), self.node.attributes)
        return (raise_codes(result) if self.lowered else result,)

    @property
    def element_wise(self) -> bool:
        """Whether each element of the result depends on one element of each input; constants have one each."""
        constants = [x for x in self.inputs if not isinstance(x, str)]
        return self.node.op in ("Add", "LeakyRelu", "Mul", "Sigmoid") and all(x.size == 1 for x in constants)

    def of_any_shape(self, *values: Array) -> Array | None:
        """The codes, where they do not depend on the shapes as the order of a sum does; else None."""
        (result,) = self(*values)
        if self.node.op == "Add":
            swapped = replace(self, inputs=(*self.inputs[3:6], *self.inputs[:3], *self.inputs[6:]))
            ordered = dict(zip(self.names, values, strict=True))
            if not np.array_equal(swapped(*(ordered[name] for name in swapped.names))[0], result):
                return None
        return result

    def doubt(self, *values: Array) -> str:
        """Why equal bits are not claimed for these values; empty where they are."""
        held = self._held(values)
        return CLAIMS[self.op](held, self.node.attributes, OPS[self.op](held, self.node.attributes))

    def _held(self, values: Sequence[Array]) -> list[Array]:
        """The inputs in the type in which the runtime holds them."""
        given = dict(zip(self.names, values, strict=True))
        return [
            x if not isinstance(x, str) else raise_codes(given[x]) if x in self.raised else given[x]
            for x in self.inputs
        ]


def find_code_ops(graph: Graph, readers: Readers, signed: Signed) -> dict[str, CodeOp]:
    """Every op on codes, by the name of the codes that it makes.

    Args:
        graph: the graph, with its codes propagated.
        readers: its edges and constants.
        signed: the types of its codes.
    """
    found = {}
    for node in graph.nodes:
        if node.op not in CODE_OPS or len(node.outputs) != 1 or node.outputs[0] in readers.constants:
            continue
        codes_node = readers.quantizer(node.outputs[0])
        fused = None if codes_node is None else _code_op(node, codes_node, readers, signed)
        if fused is not None and codes_node is not None:
            found[codes_node.outputs[0]] = fused
    return found


def raise_codes(codes: Array) -> Array:
    """int8 codes as uint8, 128 higher; or the other way around."""
    return np.asarray((codes.view(np.uint8) ^ 0x80).view(np.int8 if codes.dtype == np.uint8 else np.uint8))


def _code_op(node: Node, codes_node: Node, readers: Readers, signed: Signed) -> CodeOp | None:
    target = _parameters(codes_node, signed.raised(codes_node.outputs[0]), readers)
    if target is None:
        return None
    held, raised = target[1].dtype, set()
    inputs: list[str | Array] = []
    named: list[str | Array] = []
    for name in node.inputs:
        source = readers.producers.get(name)
        if source is None or source.op != "DequantizeLinear":
            return None
        codes = source.inputs[0]
        parameters = _parameters(source, signed.raised(codes), readers)
        if parameters is None or parameters[1].dtype != held:
            return None
        if signed.raised(codes):
            raised.add(codes)
        inputs += [_value(codes, readers.constants), *parameters]
        named += [codes, *parameters]
    lowered = signed.raised(codes_node.outputs[0])
    concat = node.op == "Concat"
    return CodeOp(
        op=CODE_OPS[node.op],
        node=node,
        codes_node=codes_node,
        inputs=(*target, *inputs) if concat else (*inputs, *target),
        named=(*target, *named) if concat else (*named, *target),
        raised=frozenset(raised),
        lowered=lowered,
    )


def _value(name: str, constants: Constants) -> str | Array:
    return constants[name] if name in constants else name  # noqa: SIM401 - Constants has no get


def _parameters(node: Node, raised: bool, readers: Readers) -> tuple[Array, Array] | None:
    """Scale and zero point of 8-bit codes, in the type in which they are held."""
    found = readers.eight_bit_scale(node)
    if found is None:
        return None
    scale, zero = found
    return scale, raise_codes(zero.reshape(1)).reshape(()) if raised else zero
