"""The codes of every weight, as the walk comes to it: ridge correction, scales, GPTQ, bias correction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from mptq_export.calibrate.sites import convolution_kernel
from mptq_export.capture.evaluate import depthwise, weight_matrix
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Depthwise
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.quantize.walk.state import WalkState
from mptq_export.quantize.weights.bias_correction import BiasCorrection
from mptq_export.quantize.weights.code_range import PAIR_LIMIT, CodeRange
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.quantize_weight import BIAS_STEPS, dequantize, pair_sums, turned
from mptq_export.quantize.weights.ridge_correction import Moments
from mptq_export.quantize.weights.rounding import RoundedWeight, WeightRounding
from mptq_export.quantize.weights.weight_regions import CORES
from mptq_export.recipe.schema import WeightQuant

#: Codes by which rounding may move the sum of two neighbours: the nearest ones by one, GPTQ by some more.
_MOVED = 6


class WeightStep(Protocol):
    """What chooses the codes of a layer."""

    @property
    def fits(self) -> bool:
        """Whether weights may be fitted to the float model, which is then computed too."""
        ...

    def choose_codes(self, state: WalkState, nodes: Sequence[Node]) -> list[WeightQuant]:
        """The codes that the walk goes on with; what the layer reads is quantized already.

        Args:
            state: where the walk is.
            nodes: all calls of one layer: mostly one.

        Returns:
            One a call: the codes and scales are the same for all, each has its own bias.
        """
        ...


@dataclass(frozen=True)
class FittedWeight:
    """A weight before rounding, and what its rounding is measured with.

    Attributes:
        weight: [N, K], refitted to the quantized inputs where that is asked for.
        bias: [N], the float model's.
        bias_corrections: what rounded weights leave on average, one a call of the layer; none where it is not measured
            from moments.
        hessian: of what the layer reads, at all calls; None where nothing is measured.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    bias_corrections: tuple[BiasCorrection, ...]
    hessian: Hessian | None


@dataclass(frozen=True)
class FittedCodes:
    """The techniques of the method, at the width of the layer.

    Attributes:
        widest_gptq: weights of more bits are rounded to nearest.
    """

    widest_gptq: int = 8
    fits = True

    def choose_codes(self, state: WalkState, nodes: Sequence[Node]) -> list[WeightQuant]:
        """As the protocol says."""
        return self.round_weight(state, nodes, fit_weight(state, nodes), state.widths(nodes[0].name)[0])

    def round_weight(
        self, state: WalkState, nodes: Sequence[Node], fitted: FittedWeight, bits: int
    ) -> list[WeightQuant]:
        """The codes and the biases of a fitted weight at a width.

        Args:
            state: where the walk is.
            nodes: all calls of the layer.
            fitted: its weight, as `fit_weight` gave it.
            bits: 2 to 8.

        Returns:
            One a call.
        """
        return self.coded(state, nodes, fitted, bits, self.rounding(state, nodes, fitted, bits).round())

    def rounding(self, state: WalkState, nodes: Sequence[Node], fitted: FittedWeight, bits: int) -> WeightRounding:
        """How a fitted weight is rounded at a width; arguments as of `round_weight`."""
        method = state.method
        gptq = method.gptq and bits <= self.widest_gptq and not isinstance(nodes[0].op, Depthwise)
        in_regions = bits in CORES and bits <= method.weight_regions and state.form.has_weight_regions
        return WeightRounding(
            fitted.weight,
            bits,
            fitted.hessian,
            _smallest_scale(state, nodes, fitted, bits),
            search_scales=method.weight_scales_by_error,
            gptq=gptq,
            in_regions=in_regions and gptq and method.weight_scales_by_error,
            form=state.form.weights,
        )

    def coded(
        self, state: WalkState, nodes: Sequence[Node], fitted: FittedWeight, bits: int, rounded: RoundedWeight
    ) -> list[WeightQuant]:
        """The codes of a rounded weight with the biases that go with them; arguments as of `round_weight`."""
        method, reasons = state.method, [rounded.reason]
        if fitted.bias_corrections and fitted.weight is not fitted.bias_corrections[0].weight:
            reasons.append("refitted to the quantized inputs")
        if rounded.compensated:
            reasons.append("error-compensated rounding")
        if method.bias_correction:
            reasons.append("bias cancels the mean error")
        if len(nodes) > 1:
            reasons.append(f"one weight for {len(nodes)} calls")
        stored, scale = rounded.codes.to(torch.int8).cpu().numpy(), rounded.scale.cpu().numpy()
        form, reason = CodeRange.of(bits, state.form.weights).form, "; ".join(reasons)
        found = []
        for call, node in enumerate(nodes):
            bias = fitted.bias
            if method.bias_correction:
                bias = corrected_bias(state, node, fitted, call, dequantize(rounded.codes, rounded.scale))
            # The file adds biases as whole steps of the int32 accumulator.
            step = state.input_quant(node).scale * rounded.scale.double()
            bias = ((bias / step).round() * step).float()
            found.append(WeightQuant(stored, scale, bias.cpu().numpy(), bits, form, reason, rounded.regions))
        return found


def _smallest_scale(state: WalkState, nodes: Sequence[Node], fitted: FittedWeight, bits: int) -> torch.Tensor:
    """The scales of the channels below which a bias would have too many steps of the accumulator, at any call: [N].

    A layer over windows that gives codes is meant to be a convolution, whose kernels may add neighbours in another
    order.
    """
    found = []
    for call, node in enumerate(nodes):
        largest = fitted.bias.abs()
        if state.method.bias_correction and fitted.bias_corrections:  # what it becomes, but for the rounding
            largest = torch.maximum(largest, fitted.bias_corrections[call].bias_for(fitted.weight).abs())
        found.append(largest / (state.input_quant(node).scale * BIAS_STEPS))
    smallest = torch.stack(found).amax(0)
    kernel = next((kernel for node in nodes if (kernel := convolution_kernel(state.graph, node)) is not None), None)
    if kernel is None or bits < 8 or state.form.weights != "pair_safe":
        return smallest
    weight = fitted.weight.abs().cpu().numpy()
    pairs = torch.from_numpy(pair_sums(turned(weight, kernel)).max(1)).to(smallest)
    return torch.maximum(smallest, pairs / (PAIR_LIMIT - _MOVED))


def fit_weight(state: WalkState, nodes: Sequence[Node]) -> FittedWeight:
    """What is rounded, at any width: the weight, refitted to the quantized inputs where that is asked for."""
    weight, bias, method = weight_matrix(nodes[0]), nodes[0].params["bias"], state.method
    if not method.measures_inputs:
        return FittedWeight(weight, bias, (), None)
    if isinstance(nodes[0].op, Depthwise):  # every channel has inputs of its own: scales go by the error of the weights
        alike = torch.eye(weight.shape[1], dtype=torch.float64, device=weight.device)
        return FittedWeight(weight, bias, (), Hessian(alike))
    rows = [
        state.values.fitting_rows(
            state.graph,
            node,
            state.input_quant(node),
            state.importance_at(node.name),
            residual=method.residual_correction,
        )
        for node in nodes
    ]
    moments = Moments.of(rows, weight, bias)
    weight = moments.ridge_corrected() if method.ridge_correction else weight
    hessian = moments.hessian(centred=method.bias_correction)
    return FittedWeight(weight, bias, moments.bias_corrections, hessian)


def corrected_bias(
    state: WalkState, node: Node, fitted: FittedWeight, call: int, rounded: torch.Tensor
) -> torch.Tensor:
    """The bias with which rounded weights leave no mean error per channel: [N], from weights [N, K].

    Args:
        state: where the walk is.
        node: one call of the layer.
        fitted: its weight, as `fit_weight` gave it.
        call: which one it is.
        rounded: its weights as they are stored.
    """
    if fitted.bias_corrections:
        return fitted.bias_corrections[call].bias_for(rounded)
    x = fake_quantize(state.values.held(node.inputs[0]), state.input_quant(node))
    target = state.values.fitting_target(state.graph, node, residual=state.method.residual_correction)
    found = depthwise(node, x.double(), rounded.double(), fitted.bias.double())
    return fitted.bias + (target - found.reshape(target.shape)).mean(0)
