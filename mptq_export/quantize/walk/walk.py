"""Images and bit-widths -> recipe, in one walk through the graph with all calibration images at once.

Every layer is quantized with the inputs that the quantized layers before it give, towards the outputs of the float
model, so that later layers correct what earlier ones got wrong. Memory holds the values that are still to be read,
of all images.

The same images give the same recipe on every CPU. The quantized values are exact (`simulate.py`). What is a float by
nature (the float model, moments, transforms, errors) is float64: sums in another order differ by 1e-15 or so, far less
than what a code or a scale is rounded by.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.batches import BATCHES, largest_change
from mptq_export.capture.evaluate import computed_in, depthwise, evaluate, weight_matrix
from mptq_export.capture.graph import WEIGHTED, Graph, Node
from mptq_export.quantize.activations.residual_grid import grid_exponents
from mptq_export.quantize.activations.sample import drawn_rows
from mptq_export.quantize.activations.search import ActivationSearch
from mptq_export.quantize.method import Method
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.transforms.sq_b import choose_smoothing
from mptq_export.quantize.walk.in_parts import compute_in_parts, overwrite
from mptq_export.quantize.walk.row_importance import row_importance
from mptq_export.quantize.walk.values import HeldValues
from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.codes import BIAS_STEPS, dequantized, quantize_weight
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.ridge_correction import Means, Moments
from mptq_export.recipe.schema import ActivationQuant, Recipe, Smoothing, WeightQuant
from mptq_export.support.errors import MptqError
from mptq_export.support.memory import trim
from mptq_export.transform.balance_attention import balance_attention
from mptq_export.transform.fold_sq_b import smooth, smoothed_readers

Widths = Callable[[str], tuple[int, int]]
"""(weights, activations) of a layer, by the name of its node: linear layers, patch embeddings and matmuls."""

Tick = Callable[[Node], None]

#: Images of one backward pass.
_BATCH = 8

_FLOAT64 = computed_in(torch.float64)

#: Largest relative change of a layer's float output that a transform may cause.
TOLERANCE = 1e-5


def build_recipe(
    graph: Graph,
    stats: Statistics,
    images: torch.Tensor,
    widths: Widths,
    method: Method,
    tick: Tick | None = None,
    *,
    importance: dict[str, torch.Tensor] | None = None,
) -> tuple[Graph, Recipe]:
    """Choose every quantizer.

    Args:
        graph: prepared canonical graph, on the device that computes.
        stats: calibration statistics of that graph; they give the residual grids.
        images: float32 calibration inputs, all of them, on the same device.
        widths: bit-widths of every layer; what no matmul reads, and the pixels, stay at 8.
        method: which techniques are used.
        tick: called after every node.
        importance: row weights of the layers where they are known already; None measures them.

    Returns:
        The graph with its transforms applied (what they changed is float64), and a recipe without its proof.

    Raises:
        MptqError: a table cannot be certified, or a transform changed the function (a defect of this package).
    """
    importance = measured_importance(graph, images, method) if importance is None else importance
    builder = Builder(graph, widths, method, importance, grid_exponents(graph, stats))
    return builder.graph_and_recipe(images, tick or (lambda _node: None))


def measured_importance(graph: Graph, images: torch.Tensor, method: Method) -> dict[str, torch.Tensor]:
    """Row weights of the layers, as `row_importance`; none where the method does not use them."""
    found = row_importance(graph, torch.split(images, _BATCH)) if method.importance else {}
    trim()
    return found


@dataclass(frozen=True)
class _Fitted:
    """A weight before rounding, and what its rounding is measured with."""

    weight: torch.Tensor
    bias: torch.Tensor
    means: Means | None
    hessian: Hessian | None


class Builder:
    """The walk: values of the float model (float64, where a method asks for them) and of the quantized model."""

    #: The widest weights whose rounding is compensated.
    COMPENSATED = 8

    #: Whether weights may be measured against the float model, which is then computed too.
    MEASURES = True

    def __init__(
        self,
        graph: Graph,
        widths: Widths,
        method: Method,
        importance: dict[str, torch.Tensor],
        exponents: dict[str, int],
    ) -> None:
        self.graph = graph
        self.widths = widths
        self.method = method
        self.importance = importance
        self.exponents = exponents
        self.simulator = Simulator(graph, exponents)
        self.weights: dict[str, WeightQuant] = {}
        self.smoothing: dict[str, Smoothing] = {}
        self._chosen: dict[tuple[str, int], ActivationQuant] = {}

    def graph_and_recipe(self, images: torch.Tensor, tick: Tick) -> tuple[Graph, Recipe]:
        """Run, and check that the transforms kept the function; arguments and errors as for `build_recipe`."""
        before = self.graph
        with torch.no_grad():
            self.run(images, tick)
            probe = images[: max(BATCHES)].double()
            _assert_small("SQ-b with balanced attention", largest_change(self.graph, probe, evaluate(before, probe)))
        activations = self.simulator.activations
        return self.graph, Recipe(activations, self.weights, self.smoothing, self.exponents)

    def run(self, images: torch.Tensor, tick: Tick) -> None:
        """Choose everything; `tick` is called after every node."""
        measures = self.MEASURES and self.method.measures_inputs
        self.held = HeldValues(self.graph, images, with_floats=measures)
        for name in self.held.order:
            node = self.graph[name]
            if node.op in WEIGHTED:
                self._linear(node)
            elif node.op != "input":
                self._other(node)
            self.held.forget(self.graph, node)
            tick(node)

    def _other(self, node: Node) -> None:
        for site in self.simulator.sites.get(node.name, ()):
            if site.kind not in ("scores", "result"):
                self._choose(site, self.held.quantized[site.value])
        self.held.compute_float(self.graph, node)
        self._compute(node)
        if node.op == "layer_norm" and self.method.smoothing != "off":
            self._smooth(node)

    def _compute(self, node: Node) -> None:
        """The quantized value, and the quantizer of the result where it has one of its own."""
        value = compute_in_parts(self.graph, node, self.held.quantized, self.simulator.compute)
        site = self.simulator.results.get(node.name)
        if site is not None:
            quant = self._choose(site, value)
            value = overwrite(value, lambda part: fake_quantize(part, quant))
        self.held.quantized[node.name] = value

    def _choose(self, site: Site, value: torch.Tensor) -> ActivationQuant:
        known, importance = self.simulator.activations, self._importance(site.node.name)
        search = ActivationSearch(self.graph, site, value, known, self.method, importance)
        if not (math.isfinite(search.range.low) and math.isfinite(search.range.high)):
            raise MptqError(
                f"{site.node.name}: the quantized model is not finite here; use more bits, or check the checkpoint for "
                "extreme weights"
            )
        known[site.key] = self._chosen_by(site, search)
        return known[site.key]

    def _chosen_by(self, site: Site, search: ActivationSearch) -> ActivationQuant:
        bits = self._bits(site)
        if site.kind != "linear":
            return search.at(bits)
        if (site.value, bits) not in self._chosen:  # layers that read the same value share its codes
            self._chosen[site.value, bits] = search.at(bits)
        return self._chosen[site.value, bits]

    def _importance(self, name: str) -> torch.Tensor | None:
        """Row weights of a linear layer, or of the linear layer that reads an activation."""
        if name in self.importance:
            return self.importance[name]
        readers = self.graph.consumers()[name]
        return self.importance.get(readers[0].name) if self.graph[name].op == "activation" and readers else None

    def _bits(self, site: Site) -> int:
        layer = deciding_layer(self.graph, site)
        return 8 if layer is None else self.widths(layer)[1]

    def _smooth(self, norm: Node) -> None:
        readers = smoothed_readers(self.graph, norm)
        if not readers:
            return
        weight = torch.cat([reader.params["weight"] for reader in readers])
        direct = next((r.name for r in readers if r.inputs[0] == norm.name), "")  # its rows are those of the norm
        value = self.held.quantized[norm.name]
        widths = self.widths(readers[0].name)
        choice = choose_smoothing(value, weight, widths, self.method, self.importance.get(direct))
        rows = drawn_rows(value).double()
        self.smoothing[norm.name] = choice
        before = {reader.name: reader for reader in readers}
        self.graph = smooth(self.graph, norm, choice)
        shift, scale = (torch.from_numpy(part).to(rows) for part in (choice.shift, choice.scale))
        for reader in smoothed_readers(self.graph, self.graph[norm.name]):
            exact = _FLOAT64(before[reader.name], [rows])
            _assert_same(f"SQ-b at {norm.name}", _FLOAT64(reader, [(rows - shift) / scale]), exact)
        folded = self.graph[norm.name]
        self.held.quantized[norm.name] = compute_in_parts(
            self.graph, folded, self.held.quantized, self.simulator.compute
        )
        if norm.name in self.held.floats:
            self.held.floats[norm.name].sub_(shift).div_(scale)

    def _linear(self, node: Node) -> None:
        source = self.held.quantized[node.inputs[0]]
        if self.method.balance and node.op == "linear":
            outputs = _FLOAT64(node, [drawn_rows(source).double()])
            self.graph = balance_attention(self.graph, node, outputs)
            node = self.graph[node.name]
        self.held.compute_float(self.graph, node)
        self._choose(self.simulator.sites[node.name][0], source)
        quant = self._weights(node)
        self.weights[node.name] = quant
        self.simulator.set_weight(node.name, quant, source.device)
        self._compute(node)
        del self.simulator.weights[node.name]  # nothing computes the layer again
        trim()

    def _weights(self, node: Node) -> WeightQuant:
        return self._rounded(node, self._fitted(node), self.widths(node.name)[0])

    def _fitted(self, node: Node) -> _Fitted:
        """What is rounded, at any width: the weight, drawn to the quantized inputs where that is asked for."""
        weight = weight_matrix(node)
        bias, method = node.params["bias"], self.method
        if not method.measures_inputs:
            return _Fitted(weight, bias, None, None)
        if node.op == "depthwise":  # every channel has inputs of its own: scales go by the error of the weights
            alike = torch.eye(weight.shape[1], dtype=torch.float64, device=weight.device)
            return _Fitted(weight, bias, None, Hessian(alike))
        quant, importance = self.simulator.activations[f"{node.name}.input"], self._importance(node.name)
        parts = self.held.parts(self.graph, node, quant, importance, residual=method.residual)
        moments = Moments.of(parts, weight, bias)
        weight = moments.corrected() if method.correction else weight
        return _Fitted(weight, bias, moments.means, moments.hessian(centred=method.bias))

    def _rounded(self, node: Node, fitted: _Fitted, bits: int) -> WeightQuant:
        method, bias = self.method, fitted.bias
        reasons = ["scales by error" if method.weight_scale else "min/max scales"]
        compensate = method.rounding and bits <= self.COMPENSATED and node.op != "depthwise"
        input_scale = self.simulator.activations[f"{node.name}.input"].scale
        largest = bias.abs()
        if method.bias and fitted.means is not None:  # what it becomes is known but for the rounding
            largest = torch.maximum(largest, fitted.means.bias_for(fitted.weight).abs())
        least = largest / (input_scale * BIAS_STEPS)
        codes, scale = quantize_weight(
            fitted.weight, bits, fitted.hessian, least=least, search=method.weight_scale, compensate=compensate
        )
        if fitted.means is not None and fitted.weight is not fitted.means.weight:
            reasons.append("refitted to the quantized inputs")
        if compensate:
            reasons.append("error-compensated rounding")
        if method.bias:
            bias = self._bias(node, fitted, dequantized(codes, scale))
            reasons.append("bias cancels the mean error")
        # The file adds biases as whole steps of the int32 accumulator.
        step = input_scale * scale.double()
        bias = ((bias / step).round() * step).float()
        stored = codes.to(torch.int8).cpu().numpy()
        form = CodeRange.of(bits).form
        return WeightQuant(stored, scale.cpu().numpy(), bias.cpu().numpy(), bits, form, "; ".join(reasons))

    def _bias(self, node: Node, fitted: _Fitted, weight: torch.Tensor) -> torch.Tensor:
        """The bias with which rounded weights leave no mean error."""
        if fitted.means is not None:
            return fitted.means.bias_for(weight)
        x = fake_quantize(self.held.quantized[node.inputs[0]], self.simulator.activations[f"{node.name}.input"])
        exact = self.held.target(self.graph, node, residual=self.method.residual)
        gap = exact - depthwise(node, x.double(), weight.double(), fitted.bias.double()).reshape(exact.shape)
        return fitted.bias + gap.mean(0)


def deciding_layer(graph: Graph, site: Site) -> str | None:
    """The layer whose activation width a site has; None where it is 8 bits anyway.

    Scores have the width of the attention codes that they become: it decides which of them matter.
    """
    if site.kind in ("activation", "pixels", "result") or (site.kind == "attention" and site.node.op == "softmax"):
        return None
    if site.kind == "scores":
        readers = graph.consumers()[site.node.name]
        return next((node.name for node in readers if node.op == "matmul"), None)
    return site.node.name


def _assert_same(what: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    _assert_small(what, float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6)))


def _assert_small(what: str, error: float) -> None:
    if not error <= TOLERANCE:
        raise MptqError(f"{what} changed the float output by {error:.1e} of its maximum; please report this model")
