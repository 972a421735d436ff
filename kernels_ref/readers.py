"""Who makes a tensor of a graph, and who reads it."""

import numpy as np

from kernels_ref.constants import Constants
from kernels_ref.model import Graph, Node
from kernels_ref.ops.quantize_linear import code_range
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.parameters import EIGHT_BITS


class Readers:
    """The edges of a graph.

    Args:
        graph: the graph.
        constants: its constants.

    Attributes:
        producers: the node that makes a tensor, by the tensor's name.
        consumers: the nodes that read it, one entry for each input.
        constants: the graph's constants.
    """

    def __init__(self, graph: Graph, constants: Constants) -> None:
        self.producers = {name: node for node in graph.nodes for name in node.outputs if name}
        self.consumers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in filter(None, node.inputs):
                self.consumers.setdefault(name, []).append(node)
        self.constants = constants
        self._outputs = set(graph.outputs)

    def edges(self, name: str) -> int:
        """How many inputs and graph outputs a tensor goes to."""
        return len(self.consumers.get(name, [])) + (name in self._outputs)

    def sole_reader(self, name: str) -> Node | None:
        """The one node that reads a tensor; None for a graph output, or where there are more."""
        reading = self.consumers.get(name, [])
        return reading[0] if self.edges(name) == 1 and reading else None

    def is_quantized(self, name: str) -> bool:
        """Whether a QuantizeLinear reads a tensor."""
        return any(node.op == "QuantizeLinear" for node in self.consumers.get(name, []))

    def quantizer(self, name: str) -> Node | None:
        """The QuantizeLinear that alone reads a tensor; a Relu or Clip between that changes no code is passed over."""
        reader = self.sole_reader(name)
        if reader is None or reader.inputs[0] != name:
            return None
        if reader.op == "QuantizeLinear":
            return reader
        if reader.op not in ("Relu", "Clip"):
            return None
        after = self.sole_reader(reader.outputs[0])
        if after is None or after.op != "QuantizeLinear" or not self._changes_no_code(reader, after):
            return None
        return after

    def is_limited(self, name: str) -> bool:
        """Whether a Relu or Clip that changes codes, or that no QuantizeLinear follows, alone reads a tensor."""
        reader = self.sole_reader(name)
        limits = (
            reader is not None and reader.op in ("Relu", "Clip") and self.sole_reader(reader.outputs[0]) is not None
        )
        return limits and self.quantizer(name) is None

    def _changes_no_code(self, limiter: Node, quantizer: Node) -> bool:
        """Whether the limits of a Relu or Clip lie outside of what the codes stand for."""
        found = self.one_scale(quantizer)
        if found is None:
            return False
        scale, zero = found
        low, high = code_range(zero.dtype)
        if limiter.op == "Relu":
            return bool(zero == low)
        limits = []
        for index, default in ((1, np.finfo(np.float32).min), (2, np.finfo(np.float32).max)):
            name = limiter.inputs[index] if len(limiter.inputs) > index else ""
            if name and (name not in self.constants or self.constants[name].size != 1):
                return False
            limits.append(float(self.constants[name].reshape(()) if name else default))
        # In float32, as the runtime asks.
        codes = [float(np.rint(np.float32(limit) / scale)) + int(zero) for limit in limits]
        return codes[0] <= low and codes[1] >= high

    def one_scale(self, node: Node) -> tuple[Array, Array] | None:
        """Scale and zero point of a QuantizeLinear or DequantizeLinear: constants of one element, float32 and integer.

        A zero point that is left out is uint8, or the type of constant codes.
        """
        if node.attributes.get("block_size", 0) or node.attributes.get("output_dtype", 0):
            return None
        scale, zero = self.parameters(node)
        if scale is None or scale.size != 1 or scale.dtype != np.float32 or zero is None or zero.size != 1:
            return None
        return scale.reshape(()), zero.reshape(())

    def eight_bit_scale(self, node: Node) -> tuple[Array, Array] | None:
        """The same of 8-bit codes alone."""
        found = self.one_scale(node)
        return found if found is not None and found[1].dtype in EIGHT_BITS else None

    def parameters(self, node: Node) -> tuple[Array | None, Array | None]:
        """Scale and zero point of a QuantizeLinear or DequantizeLinear where they are constants, of any shape."""
        names = [name for name in node.inputs[1:3] if name]
        if any(name not in self.constants for name in names):
            return None, None
        scale = self.constants[names[0]]
        if len(names) > 1:
            return scale, self.constants[names[1]]
        of_codes = node.op == "DequantizeLinear" and node.inputs[0] in self.constants
        dtype = self.constants[node.inputs[0]].dtype if of_codes else np.dtype(np.uint8)
        return scale, np.zeros(scale.shape, dtype)
