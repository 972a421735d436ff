"""What the steps of a walk share: each step reads what those before it left, and leaves its own."""

from dataclasses import dataclass

import torch

from mptq_export.capture.deferred import Value
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Activation
from mptq_export.quantize.form import Form, Simulation, WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.walk.values_in_flight import ValuesInFlight
from mptq_export.recipe.schema import ActivationQuant


@dataclass
class WalkState:
    """Where a walk is.

    Attributes:
        graph: the graph with all transforms folded so far; what they changed is float64.
        values: the values that are still to be read.
        simulator: the quantizers so far, and what the form of file that they are for computes with them.
        form: the form of the file that quantizers are chosen for.
        widths: widths of every layer; what no matmul reads, and the pixels, have 8 bits.
        method: which techniques are used.
        importance: how much every row counts, float64 [rows] per layer; empty where all count alike.
    """

    graph: Graph
    values: ValuesInFlight
    simulator: Simulation
    form: Form
    widths: WidthsOf
    method: Method
    importance: dict[str, torch.Tensor]

    def simulate(self, node: Node) -> Value:
        """What the quantized model gives at a node, all images."""
        return self.values.compute_quantized(self.graph, node, self.simulator.compute)

    def input_quant(self, node: Node) -> ActivationQuant:
        """The quantizer of what a layer reads."""
        return self.simulator.input_quant(node)

    def importance_at(self, name: str) -> torch.Tensor | None:
        """Importance of the rows that a linear layer reads, or of an activation function's argument: of its reader."""
        if name in self.importance:
            return self.importance[name]
        readers = self.graph.consumers()[name]
        function = isinstance(self.graph[name].op, Activation)
        return self.importance.get(readers[0].name) if function and readers else None
