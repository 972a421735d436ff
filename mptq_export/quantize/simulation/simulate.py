"""The quantized model in torch: the numbers of the emitted graph.

Where the file rounds, this rounds too: operands, weights, biases, residual grids, constants of scores. Sums are those
of whole numbers, functions those of codes, and the rest is element-wise: every CPU finds the same bits. A code can
differ from the file's only where a float32 result lies within rounding errors of a boundary.
"""

from collections.abc import Callable
from functools import partial
from typing import Self, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from mptq_export.calibrate.sites import Site, SiteKind, sites
from mptq_export.capture import ops
from mptq_export.capture.evaluate import compute, depthwise, evaluate, patches
from mptq_export.capture.function_names import Function
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Movement, Op
from mptq_export.quantize.activations.score_bias import ScoreConstants
from mptq_export.quantize.activations.site_width import deciding_layer
from mptq_export.quantize.certification.certify import activation_results
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.simulation.exact_sums import (
    WeightProduct,
    grid_mean,
    grid_norm,
    integer_matmul,
    integer_product,
)
from mptq_export.quantize.simulation.fake_quantize import CHUNK, steps
from mptq_export.recipe.schema import ActivationQuant, Recipe, WeightQuant

#: The middle of the float32 numbers that are 1 apart: whole numbers plus this, plus a fraction, are whole again.
SHIFT = 1.5 * 2.0**23


class Simulator:
    """Computes nodes with quantized operands and weights.

    Attributes:
        sites: the sites of every node, by its name.
        results: the site of every node whose own result is quantized (scores, and results of activation functions and
            depthwise convolutions that are read as floats), by its name.
        activations: quantizers by site key; they may grow while a recipe is built.
        weights: codes [N, K], scales [N] and bias [N] of every layer with weights, float32, by node name.
        grid_operands: (position, exponent) of all operands that are rounded to the residual's grid, by reader.
        stream_operands: (position, exponent) of the stream in every sum that adds a layer's output to it, by sum.
        constant_operands: (position, its softmax) of every constant that is added to scores, by sum.
    """

    def __init__(self, graph: Graph, exponents: dict[str, int], widths: WidthsOf | None = None) -> None:
        """Know no quantizer as yet; `widths` are those that will be asked for, where a walk chooses them."""
        self._widths = widths
        self.sites: dict[str, list[Site]] = {}
        self.results: dict[str, Site] = {}
        self.activations: dict[str, ActivationQuant] = {}
        self.weights: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        for site in sites(graph):
            self.sites.setdefault(site.node.name, []).append(site)
            if site.kind.where_computed:
                self.results[site.value] = site
        self.grid_operands = {node.name: _grid_operands(graph, node, exponents) for node in graph}
        self.stream_operands = {
            node.name: found for node in graph if (found := _stream_operand(graph, node, exponents)) is not None
        }
        self.constant_operands: dict[str, tuple[int, str]] = {}
        self._score_constants: dict[str, ScoreConstants] = {}
        for softmax in (node for node in graph if isinstance(node.op, ops.Softmax)):
            added = self._score_constants[softmax.name] = ScoreConstants.of(graph, softmax)
            for name in added.values:
                position = next(
                    i for i, other in enumerate(graph[name].inputs) if isinstance(graph[other].op, ops.Constant)
                )
                self.constant_operands[name] = position, softmax.name

    @classmethod
    def of(cls, graph: Graph, recipe: Recipe, device: torch.device | str = "cpu") -> Self:
        """The simulator of a finished recipe; `graph` has the recipe's transforms."""
        simulator = cls(graph, recipe.exponents)
        simulator.activations = dict(recipe.activations)
        for name, quant in recipe.weights.items():
            simulator.set_weight(name, quant, torch.device(device))
        return simulator

    def width(self, graph: Graph, site: Site) -> int:
        """Bits that a site is asked to have: its layer's; what no matmul reads, and the pixels, have 8."""
        layer = deciding_layer(graph, site)
        return 8 if layer is None or self._widths is None else self._widths(layer)[1]

    def input_quant(self, node: Node) -> ActivationQuant:
        """The quantizer of what a layer reads."""
        return self.activations[f"{node.name}.input"]

    def set_weight(self, name: str, quant: WeightQuant, device: torch.device) -> None:
        """Use the codes of one layer."""
        codes, scale, bias = (torch.from_numpy(part).to(device) for part in (quant.codes, quant.scale, quant.bias))
        self.weights[name] = (codes.float(), scale, bias)

    def logits(self, graph: Graph, images: torch.Tensor) -> torch.Tensor:
        """Output of the quantized model for a float32 batch in the layout of the graph's input."""
        return evaluate(graph, images, compute_node=self.compute)

    def steps(self, x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
        """Codes of an operand without its zero point."""
        return steps(x, quant)

    def round(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest whole numbers, half to even."""
        return x.round()

    def fake_quantize(self, x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
        """What a matmul sees of an operand."""
        return self.steps(x, quant) * quant.scale

    def apply_activation(self, x: torch.Tensor, quant: ActivationQuant, function: Function) -> torch.Tensor:
        """An activation function of a quantized argument: float32, from its results for the codes that there are."""
        table = torch.from_numpy(activation_results(quant, function).astype(np.float32)).to(x.device)
        flat, result = x.reshape(-1), torch.empty(x.numel(), device=x.device)
        for source, target in zip(torch.split(flat, CHUNK), torch.split(result, CHUNK), strict=True):
            index = self.steps(source, quant) + (quant.zero_point - quant.low)
            target.copy_(table.index_select(0, index.to(torch.int32)))
        return result.reshape(x.shape)

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """A linear layer from its float input.

        The accumulator is whole, bias and all, and scaled once, as in the file: sums of scaled values would round
        differently, and ratios of scales are often simple enough that values lie exactly between two codes.
        """
        quant = self.activations[f"{name}.input"]
        return self.accumulate(name, self.steps(x, quant), quant)

    def accumulate(
        self, name: str, steps: torch.Tensor, quant: ActivationQuant, product: WeightProduct = F.linear
    ) -> torch.Tensor:
        """The same from whole steps of the quantized input; `product` is what the layer does with its weights."""
        weight, scale, bias = self.weights[name]
        unit = scale * quant.scale
        return integer_product(steps, weight, self.round(bias.double() / unit.double()), quant.largest, product) * unit

    def compute(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        """The quantized value of a node.

        A softmax gives the unnormalised `exp(x - max)`: the matmul that reads it makes codes of it and divides by
        their sum. Where anything else reads it, it is divided here. Results are quantized as soon as their quantizer is
        known.
        """
        result = self._value(node, inputs)
        site = self.results.get(node.name)
        if site is not None and site.key in self.activations:
            result = self.fake_quantize(result, self.activations[site.key])
        return result

    def _value(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        """The value of a node before its own result is quantized."""
        return _VALUES[type(node.op)](self, node, inputs)

    def _softmax(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        power = (inputs[0] - inputs[0].amax(-1, keepdim=True)).exp_()
        if f"{node.name}.output" not in self.activations:
            return power
        power = self.steps(power, self.activations[f"{node.name}.output"])
        return power / power.sum(-1, keepdim=True)

    def _linear(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return self.linear(node.name, inputs[0])

    def _patch_embed(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        quant = self.activations[f"{node.name}.input"]
        whole = self.steps(inputs[0], quant)
        return self.accumulate(node.name, patches(whole, node.attributes(ops.PatchEmbed).patch), quant)

    def _depthwise(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        quant = self.activations[f"{node.name}.input"]
        return self.accumulate(node.name, self.steps(inputs[0], quant), quant, partial(depthwise, node))

    def _activation(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        quant = self.activations[f"{node.name}.input"]
        return self.apply_activation(inputs[0], quant, node.attributes(ops.Activation).function)

    def _in_float(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return compute(node.cast(torch.float32), inputs)

    def _outputs(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return compute(node, self._on_grid(node, inputs))

    def _norm(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return grid_norm(node.cast(torch.float32), self._on_grid(node, inputs)[0], self.grid_operands[node.name][0][1])

    def _mean(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return grid_mean(node, self._on_grid(node, inputs)[0])

    def _on_grid(self, node: Node, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """The operands, those rounded that the file rounds to the residual's grid."""
        rounded = list(inputs)
        for position, exponent in self.grid_operands[node.name]:
            rounded[position] = self.round(inputs[position] * 2.0**exponent) * 2.0**-exponent
        return rounded

    def _whole_steps(self, step: str, softmax: str) -> torch.Tensor:
        """A constant on a score path as the file adds it; what is clamped gets attention code 0 at any width."""
        scale = self.activations[f"{softmax}.input"].scale
        return torch.from_numpy(self._score_constants[softmax].codes(scale, 255)[step] * np.float32(scale))

    def _matmul(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        """An integer matmul, scaled afterwards; behind attention codes it is divided by their sum."""
        first, second = self.sites[node.name]
        a_quant, b_quant = self.activations[first.key], self.activations[second.key]
        a = self.steps(inputs[0], a_quant)
        b = self.steps(inputs[1], b_quant)
        product = integer_matmul(a, b, a.shape[-1] * a_quant.largest * b_quant.largest)
        unit = np.float32(b_quant.scale * node.attributes(ops.Matmul).alpha)
        if first.kind == SiteKind.ATTENTION:
            return product * float(unit) / a.sum(-1, keepdim=True)
        return product * float(np.float32(a_quant.scale) * unit)

    def _sum(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        """A sum; what is added to a stream is rounded to its grid by the addition itself, as in the file."""
        inputs = self._on_grid(node, inputs)
        if node.name in self.constant_operands:
            position, softmax = self.constant_operands[node.name]
            inputs[position] = self._whole_steps(node.name, softmax).to(inputs[position])
        if node.name not in self.stream_operands:
            return compute(node, inputs)
        position, exponent = self.stream_operands[node.name]
        stream, update = (inputs[i] * 2.0**exponent for i in (position, 1 - position))
        return (stream + SHIFT + update - SHIFT) * 2.0**-exponent


#: How each op's value is computed: all but the input. The file computes the last ones in float32, as the model does, or
#: only moves what was rounded before.
_VALUES: dict[type[Op], Callable[[Simulator, Node, list[torch.Tensor]], torch.Tensor]] = {
    ops.Linear: Simulator._linear,
    ops.PatchEmbed: Simulator._patch_embed,
    ops.Depthwise: Simulator._depthwise,
    ops.Matmul: Simulator._matmul,
    ops.Softmax: Simulator._softmax,
    ops.Activation: Simulator._activation,
    ops.Add: Simulator._sum,
    ops.LayerNorm: Simulator._norm,
    ops.Mean: Simulator._mean,
    ops.Outputs: Simulator._outputs,
    **dict.fromkeys(
        (
            ops.Constant,
            ops.Relu,
            ops.Mul,
            ops.Product,
            ops.Max,
            ops.Resample,
            ops.Concat,
            ops.Pad,
            ops.Rotary,
            ops.ToPixels,
            *get_args(Movement),
        ),
        Simulator._in_float,
    ),
}


def _grid_operands(graph: Graph, node: Node, exponents: dict[str, int]) -> list[tuple[int, int]]:
    """Operands that the file rounds to the residual's grid: those of norms and means, the stream in a sum or a map."""
    if isinstance(node.op, ops.LayerNorm | ops.Mean):
        return [(0, exponents[node.inputs[0]])]
    return [
        (position, exponents[name])
        for position, name in enumerate(node.inputs)
        if isinstance(node.op, ops.Add | ops.Outputs)
        and name in exponents
        and isinstance(graph.root(name).op, ops.Add | ops.Pad)
    ]


def _stream_operand(graph: Graph, node: Node, exponents: dict[str, int]) -> tuple[int, int] | None:
    """The one operand that is a stream on the grid of the sum, where the other is no constant."""
    if not isinstance(node.op, ops.Add) or any(isinstance(graph[name].op, ops.Constant) for name in node.inputs):
        return None
    found = [(i, e) for i, e in _grid_operands(graph, node, exponents) if e == exponents.get(node.name)]
    return found[0] if len(found) == 1 else None
