"""The walk: every node in the order of the method, with all calibration images at once.

Every layer is quantized with the inputs that the quantized layers before it give, towards the outputs of the float
model, so that later layers correct what earlier ones got wrong. Memory holds the values that are still to be read, of
all images.

The same images give the same recipe on every CPU. The quantized values are exact (`simulation/simulate.py`). What is a
float by nature (the float model, moments, transforms, errors) is float64: sums in another order differ by 1e-15 or so,
far less than what a code or a scale is rounded by.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from mptq_export.capture.calls import calls
from mptq_export.capture.compare_batches import BATCHES, largest_change
from mptq_export.capture.deferred import evaluate_in_parts
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Constant, Input, LayerNorm, Linear, Weighted
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.exact_form import EXACT
from mptq_export.quantize.form import Form, WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.quantize.walk.activation_step import ActivationStep, AtAskedWidth, quantize_site
from mptq_export.quantize.walk.state import WalkState
from mptq_export.quantize.walk.transform_step import balance_attention_of, choose_and_fold_sq_b
from mptq_export.quantize.walk.values_in_flight import ValuesInFlight
from mptq_export.quantize.walk.weight_step import FittedCodes, WeightStep
from mptq_export.recipe.schema import Recipe, SqB, WeightQuant
from mptq_export.support.memory import trim
from mptq_export.transform.preserved import assert_small

Tick = Callable[[Node], None]
"""Called after every node."""


class Walk:
    """One walk. The form of the file and the steps that choose quantizers and codes can be exchanged.

    Attributes:
        state: where it is.
        weights: codes of every layer so far.
        sq_b: SQ-b of every layer norm so far.
    """

    def __init__(
        self,
        calibrated: CalibratedGraph,
        widths: WidthsOf,
        method: Method,
        activation_step: ActivationStep | None = None,
        weight_step: WeightStep | None = None,
        *,
        form: Form = EXACT,
    ) -> None:
        """Stand before the first node.

        Args:
            calibrated: what is quantized; rows count alike where their importance was not measured.
            widths: widths of every layer; what no matmul reads, and the pixels, have 8 bits.
            method: which techniques are used.
            activation_step: chooses the quantizer of every site; None: the one at the width asked for.
            weight_step: chooses the codes of every weight; None: those of the method at the width asked for.
            form: of the file that will be written.
        """
        self._calibrated, self._exponents = calibrated, form.exponents(calibrated.graph, calibrated.stats)
        self._activation_step, self._weight_step = activation_step or AtAskedWidth(), weight_step or FittedCodes()
        floats = self._weight_step.fits and method.measures_inputs
        self.state = WalkState(
            graph=calibrated.graph,
            values=ValuesInFlight(calibrated.graph, calibrated.images, with_floats=floats),
            simulator=form.simulation(calibrated.graph, self._exponents, widths),
            form=form,
            widths=widths,
            method=method,
            importance=calibrated.importance or {},
        )
        self.weights: dict[str, WeightQuant] = {}
        self.sq_b: dict[str, SqB] = {}
        self._calls = calls(calibrated.graph)

    def build_recipe(self, tick: Tick | None = None) -> tuple[Graph, Recipe]:
        """Walk, and check that the transforms kept the function; arguments, result and errors as of `build_recipe`."""
        self.run(tick)
        graph, activations = self.state.graph, self.state.simulator.activations
        probe = self._calibrated.images[: max(BATCHES)].double()
        with torch.no_grad():
            change = largest_change(graph, probe, evaluate_in_parts(self._calibrated.graph, probe))
        assert_small("SQ-b with balanced attention", change)
        return graph, Recipe(activations, self.weights, self.sq_b, self._exponents)

    def run(self, tick: Tick | None = None) -> None:
        """Choose everything.

        Raises:
            MptqError: a table cannot be certified, a value is not finite, or a transform changed a layer.
        """
        state = self.state
        with torch.no_grad():
            for name in state.values.order:
                node = state.graph[name]
                if isinstance(node.op, Input):
                    self._quantize_result(node)
                else:
                    self._quantize(node)
                state.values.forget(state.graph, node)
                state.values.rest(node)
                if tick:
                    tick(node)

    def _quantize(self, node: Node) -> None:
        """Everything about one node, in the order of the method."""
        names = self._calls.get(node.name, (node.name,))
        if self.state.method.balanced_attention and isinstance(node.op, Linear) and len(names) == 1:
            balance_attention_of(self.state, node)
            node = self.state.graph[node.name]
        if node.name == names[0]:
            self._quantize_reading(names)
        self.state.values.quantized[node.name] = self.state.simulate(node)
        if self.state.method.sq_b != "off" and isinstance(node.op, LayerNorm):
            choice = choose_and_fold_sq_b(self.state, node)
            if choice is not None:
                self.sq_b[node.name] = choice
        self._quantize_result(node)
        if isinstance(node.op, Weighted):
            del self.state.simulator.weights[node.name]  # nothing computes the layer again
            self._set_aside(node.name)
            trim()

    def _set_aside(self, name: str) -> None:
        """Let the weights of a layer that is done wait for the end of the walk, where transforms made them float64."""
        node, before = self.state.graph[name], self._calibrated.graph[name]
        params = {
            key: value if value is before.params[key] else self.state.values.keep(value)
            for key, value in node.params.items()
        }
        if any(params[key] is not value for key, value in node.params.items()):
            self.state.graph = self.state.graph.updated({name: replace(node, params=params)})

    def _quantize_reading(self, names: tuple[str, ...]) -> None:
        """What a node reads, and its weights; of a layer with several calls what all of them read, and one weight."""
        nodes = [self.state.graph[name] for name in names]
        for node in nodes:
            self.state.values.compute_float(self.state.graph, node)
            self._quantize_operands(node)
        if isinstance(nodes[0].op, Weighted):
            device = self._calibrated.images.device
            for name, quant in zip(names, self._weight_step.choose_codes(self.state, nodes), strict=True):
                self.weights[name] = quant
                self.state.simulator.set_weight(name, quant, device)

    def _quantize_operands(self, node: Node) -> None:
        """What a node reads as codes. Scores and results are sites of what is computed: `_quantize_result` has them."""
        for site in self.state.simulator.sites.get(node.name, ()):
            if not site.kind.where_computed:
                quantize_site(self.state, site, self.state.values.read(site.value), self._activation_step)

    def _quantize_result(self, node: Node) -> None:
        """What a node gives, where that has a quantizer of its own."""
        site = self.state.simulator.results.get(node.name)
        if site is not None:
            values = self.state.values
            quant = quantize_site(self.state, site, values.read(node.name), self._activation_step)
            if isinstance(node.op, Input | Constant):  # not ours to overwrite
                values.quantized[node.name] = values.held(node.name).clone()
            # What is deferred is quantized where it is computed from now on.
            values.overwrite_quantized(node.name, lambda some: fake_quantize(some, quant))
