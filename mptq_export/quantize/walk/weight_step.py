"""The codes of every weight, as the walk comes to it: ridge correction, scales, GPTQ, bias correction."""

from dataclasses import dataclass
from typing import Protocol

import torch

from mptq_export.capture.evaluate import depthwise, weight_matrix
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Depthwise
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.quantize.walk.state import WalkState
from mptq_export.quantize.weights.bias_correction import BiasCorrection
from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.quantize_weight import BIAS_STEPS, dequantize, quantize_weight
from mptq_export.quantize.weights.ridge_correction import Moments
from mptq_export.recipe.schema import WeightQuant


class WeightStep(Protocol):
    """What chooses the codes of a layer."""

    @property
    def fits(self) -> bool:
        """Whether weights may be fitted to the float model, which is then computed too."""
        ...

    def choose_codes(self, state: WalkState, node: Node) -> WeightQuant:
        """The codes that the walk goes on with; what the layer reads is quantized already."""
        ...


@dataclass(frozen=True)
class FittedWeight:
    """A weight before rounding, and what its rounding is measured with.

    Attributes:
        weight: [N, K], refitted to the quantized inputs where that is asked for.
        bias: [N], the float model's.
        bias_correction: what rounded weights leave on average; None where it is not measured from moments.
        hessian: of what the layer reads; None where nothing is measured.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    bias_correction: BiasCorrection | None
    hessian: Hessian | None


@dataclass(frozen=True)
class FittedCodes:
    """The techniques of the method, at the width of the layer.

    Attributes:
        widest_gptq: weights of more bits are rounded to nearest.
    """

    widest_gptq: int = 8
    fits = True

    def choose_codes(self, state: WalkState, node: Node) -> WeightQuant:
        """As the protocol says."""
        return self.round_weight(state, node, fit_weight(state, node), state.widths(node.name)[0])

    def round_weight(self, state: WalkState, node: Node, fitted: FittedWeight, bits: int) -> WeightQuant:
        """The codes and the bias of a fitted weight at a width.

        Args:
            state: where the walk is.
            node: the layer.
            fitted: its weight, as `fit_weight` gave it.
            bits: 2 to 8.
        """
        method, bias = state.method, fitted.bias
        reasons = ["scales by error" if method.weight_scales_by_error else "min/max scales"]
        gptq = method.gptq and bits <= self.widest_gptq and not isinstance(node.op, Depthwise)
        input_scale = state.input_quant(node).scale
        largest = bias.abs()
        if method.bias_correction and fitted.bias_correction is not None:  # what it becomes, but for the rounding
            largest = torch.maximum(largest, fitted.bias_correction.bias_for(fitted.weight).abs())
        codes, scale = quantize_weight(
            fitted.weight,
            bits,
            fitted.hessian,
            smallest_scale=largest / (input_scale * BIAS_STEPS),
            search_scales=method.weight_scales_by_error,
            gptq=gptq,
            form=state.form.weights,
        )
        if fitted.bias_correction is not None and fitted.weight is not fitted.bias_correction.weight:
            reasons.append("refitted to the quantized inputs")
        if gptq:
            reasons.append("error-compensated rounding")
        if method.bias_correction:
            bias = corrected_bias(state, node, fitted, dequantize(codes, scale))
            reasons.append("bias cancels the mean error")
        # The file adds biases as whole steps of the int32 accumulator.
        step = input_scale * scale.double()
        bias = ((bias / step).round() * step).float()
        stored = codes.to(torch.int8).cpu().numpy()
        form = CodeRange.of(bits, state.form.weights).form
        return WeightQuant(stored, scale.cpu().numpy(), bias.cpu().numpy(), bits, form, "; ".join(reasons))


def fit_weight(state: WalkState, node: Node) -> FittedWeight:
    """What is rounded, at any width: the weight, refitted to the quantized inputs where that is asked for."""
    weight, bias, method = weight_matrix(node), node.params["bias"], state.method
    if not method.measures_inputs:
        return FittedWeight(weight, bias, None, None)
    if isinstance(node.op, Depthwise):  # every channel has inputs of its own: scales go by the error of the weights
        alike = torch.eye(weight.shape[1], dtype=torch.float64, device=weight.device)
        return FittedWeight(weight, bias, None, Hessian(alike))
    quant, importance = state.input_quant(node), state.importance_at(node.name)
    rows = state.values.fitting_rows(state.graph, node, quant, importance, residual=method.residual_correction)
    moments = Moments.of(rows, weight, bias)
    weight = moments.ridge_corrected() if method.ridge_correction else weight
    hessian = moments.hessian(centred=method.bias_correction)
    return FittedWeight(weight, bias, moments.bias_correction, hessian)


def corrected_bias(state: WalkState, node: Node, fitted: FittedWeight, rounded: torch.Tensor) -> torch.Tensor:
    """The bias with which rounded weights leave no mean error per channel: [N], from weights [N, K]."""
    if fitted.bias_correction is not None:
        return fitted.bias_correction.bias_for(rounded)
    x = fake_quantize(state.values.held(node.inputs[0]), state.input_quant(node))
    target = state.values.fitting_target(state.graph, node, residual=state.method.residual_correction)
    found = depthwise(node, x.double(), rounded.double(), fitted.bias.double())
    return fitted.bias + (target - found.reshape(target.shape)).mean(0)
