"""The quantized model in torch, as a portable file computes it: floats between the codes of every tensor.

No bits are promised for this form, so it is simulated as usual: values are rounded to their codes and computed with in
float32. A runtime computes in integers what is exact here, and its own roundings are not modelled.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from mptq_export.calibrate.sites import Site, SiteKind
from mptq_export.capture import ops
from mptq_export.capture.evaluate import compute, depthwise, evaluate, patches
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Op
from mptq_export.quantize.portable.ranges import gain_and_offset, of_gain, of_parameter
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.recipe.schema import ActivationQuant, Recipe, WeightQuant


class PortableSimulator:
    """Computes nodes with quantized operands, weights and results.

    Attributes:
        sites: the sites of every node that converts what it reads, by its name.
        results: the site of every value that has codes where it is computed, by its name.
        activations: quantizers by site key; they may grow while a recipe is built.
        weights: codes [N, K], scales [N] and bias [N] of every layer with weights, float32, by node name.
    """

    def __init__(self, where: PortableSites) -> None:
        self.activations: dict[str, ActivationQuant] = {}
        self.weights: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        self.move_to(where)

    def move_to(self, where: PortableSites) -> None:
        """Have codes elsewhere, at the widths of other layers; quantizers and weights stay as they are."""
        self._where = where
        self.sites: dict[str, list[Site]] = {}
        self.results: dict[str, Site] = {}
        for site in where.all:
            if site.kind == SiteKind.TENSOR:
                self.results[site.node.name] = site
            else:
                self.sites.setdefault(site.node.name, []).append(site)

    @classmethod
    def of(cls, where: PortableSites, recipe: Recipe, device: torch.device | str = "cpu") -> "PortableSimulator":
        """The simulator of a finished recipe."""
        simulator = cls(where)
        simulator.activations = dict(recipe.activations)
        for name, quant in recipe.weights.items():
            simulator.set_weight(name, quant, torch.device(device))
        return simulator

    def set_weight(self, name: str, quant: WeightQuant, device: torch.device) -> None:
        """Use the codes of one layer."""
        codes, scale, bias = (torch.from_numpy(part).to(device) for part in (quant.codes, quant.scale, quant.bias))
        self.weights[name] = (codes.float(), scale, bias)

    def logits(self, graph: Graph, images: torch.Tensor) -> torch.Tensor:
        """Output of the quantized model for a float32 batch in the layout of the graph's input."""
        return evaluate(graph, self.given(graph, images), compute_node=self.compute)

    def given(self, graph: Graph, images: torch.Tensor) -> torch.Tensor:
        """The input as the first node reads it."""
        return self._result(graph.input.name, images)

    def input_quant(self, node: Node) -> ActivationQuant:
        """The quantizer of what a layer reads first."""
        key = self._where.key(node, 0)
        assert key is not None, f"{node.name} reads floats"
        return self.activations[key]

    def width(self, graph: Graph, site: Site) -> int:
        """Bits that a site is asked to have."""
        return self._where.bits(site)

    def compute(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        """The quantized value of a node; results are quantized as soon as their quantizer is known."""
        converted = [
            fake_quantize(value, self.activations[key])
            if self._where.reads(node, position) and (key := self._where.key(node, position)) in self.activations
            else value
            for position, value in enumerate(inputs)
        ]
        return self._result(node.name, _VALUES.get(type(node.op), PortableSimulator._in_float)(self, node, converted))

    def _result(self, name: str, value: torch.Tensor) -> torch.Tensor:
        site = self.results.get(name)
        known = site is not None and site.key in self.activations
        return fake_quantize(value, self.activations[site.key]) if site is not None and known else value

    def _in_float(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return compute(node.cast(torch.float32), inputs)

    def _weight(self, node: Node) -> tuple[torch.Tensor, torch.Tensor]:
        codes, scale, bias = self.weights[node.name]
        quant = self.activations.get(self._where.key(node, 0) or "")
        if quant is not None and self._where.form.bias_codes:  # whole steps of the accumulator
            steps = (scale * quant.scale).double()
            bias = ((bias.double() / steps).round() * steps).float()
        return codes * scale[:, None], bias

    def _linear(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return F.linear(inputs[0], *self._weight(node))

    def _patch_embed(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return F.linear(patches(inputs[0], node.attributes(ops.PatchEmbed).patch), *self._weight(node))

    def _depthwise(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return depthwise(node, inputs[0], *self._weight(node))

    def _mul(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        factor = node.params["value"].float()
        if self._where.form.everywhere:
            factor = fake_quantize(factor, of_parameter(self._where.form, factor, self._where.result_bits(node)))
        return inputs[0] * factor

    def _norm(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        norm, form = node.cast(torch.float32), self._where.form
        if form.norms != "float" and not node.attributes(ops.LayerNorm).centered:
            weight, bias = gain_and_offset(norm)
            weight = fake_quantize(weight, of_gain(form, weight))
            if form.norms == "codes":
                bias = fake_quantize(bias, of_parameter(form, bias, 8))
            norm = replace(
                norm, op=replace(node.attributes(ops.LayerNorm), plain=False), params={"weight": weight, "bias": bias}
            )
        return compute(norm, inputs)


_VALUES: dict[type[Op], Callable[[PortableSimulator, Node, list[torch.Tensor]], torch.Tensor]] = {
    ops.Linear: PortableSimulator._linear,
    ops.PatchEmbed: PortableSimulator._patch_embed,
    ops.Depthwise: PortableSimulator._depthwise,
    ops.LayerNorm: PortableSimulator._norm,
    ops.Mul: PortableSimulator._mul,
}
