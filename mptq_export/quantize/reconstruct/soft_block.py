"""A block of the quantized model with gradients: what is learned takes the place of the recipe's numbers.

It computes in float32 and rounds where bits are few: what the file rounds besides (biases, grids, sums, the last bits
of norms) changes a value by far less than a step, and is judged afterwards by the simulation of the file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from mptq_export.calibrate.sites import Site, SiteKind
from mptq_export.capture import ops
from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.evaluate import compute, depthwise, patches
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Op
from mptq_export.quantize.reconstruct.learned import WIDE_ENOUGH, LearnedNorm, LearnedSite, LearnedWeight
from mptq_export.quantize.reconstruct.straight_through import whole_steps
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import ActivationQuant


@dataclass
class SoftBlock:
    """Computes the nodes of a block.

    Attributes:
        simulator: of the recipe; what is not learned comes from it.
        weights: what is learned of layers, by their names.
        activations: what is learned of sites, by their keys; several keys may have one.
        norms: what is learned of layer norms, by their names.
    """

    simulator: Simulator
    weights: Mapping[str, LearnedWeight] = field(default_factory=dict)
    activations: Mapping[str, LearnedSite] = field(default_factory=dict)
    norms: Mapping[str, LearnedNorm] = field(default_factory=dict)

    def compute(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        """The value of a node, as `Simulator.compute`."""
        found = _VALUES.get(type(node.op), SoftBlock._in_float)(self, node, inputs)
        site = self.simulator.results.get(node.name)
        return found if site is None else self._operand(site, found)

    def _operand(self, site: Site, x: torch.Tensor) -> torch.Tensor:
        learned, quant = self.activations.get(site.key), self.simulator.activations.get(site.key)
        if learned is not None:
            return learned.fake_quantize(x)
        if quant is None:
            return x
        if quant.bits >= WIDE_ENOUGH:
            return _cut(x, quant)
        return whole_steps(x, quant) * quant.scale

    def _sites(self, node: Node) -> list[Site]:
        return [site for site in self.simulator.sites.get(node.name, ()) if not site.kind.where_computed]

    def _layer(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [N, K] and bias [N]."""
        learned = self.weights.get(name)
        if learned is not None:
            return learned.weight(), learned.offset()
        codes, scale, bias = self.simulator.weights[name]
        return codes * scale[:, None], bias

    def _linear(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return F.linear(self._operand(self._sites(node)[0], inputs[0]), *self._layer(node.name))

    def _patch_embed(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        x = self._operand(self._sites(node)[0], inputs[0])
        return F.linear(patches(x, node.attributes(ops.PatchEmbed).patch), *self._layer(node.name))

    def _depthwise(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return depthwise(node, self._operand(self._sites(node)[0], inputs[0]), *self._layer(node.name))

    def _softmax(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        power = (inputs[0] - inputs[0].detach().amax(-1, keepdim=True)).exp()
        quant = self.simulator.activations.get(f"{node.name}.output")
        if quant is None:
            return power
        power = whole_steps(power, quant)
        return power / power.sum(-1, keepdim=True)

    def _matmul(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        first, second = self._sites(node)
        b = self._operand(second, inputs[1])
        if first.kind == SiteKind.ATTENTION:
            a = whole_steps(inputs[0], self.simulator.activations[first.key])
            return (a @ b) * node.attributes(ops.Matmul).alpha / a.sum(-1, keepdim=True)
        return (self._operand(first, inputs[0]) * node.attributes(ops.Matmul).alpha) @ b

    def _activation(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        quant = self.simulator.activations[f"{node.name}.input"]
        return FUNCTIONS[node.attributes(ops.Activation).function].compute(_cut(inputs[0], quant))

    def _norm(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        learned = self.norms.get(node.name)
        return self._in_float(node if learned is None else learned.node(), inputs)

    def _in_float(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        return compute(node.cast(torch.float32), inputs)


def _cut(x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
    """The values that have codes."""
    low, high = ((end - quant.zero_point) * quant.scale for end in (quant.low, quant.high))
    return x.clamp(low, high)


_VALUES: dict[type[Op], Callable[[SoftBlock, Node, list[torch.Tensor]], torch.Tensor]] = {
    ops.Linear: SoftBlock._linear,
    ops.PatchEmbed: SoftBlock._patch_embed,
    ops.Depthwise: SoftBlock._depthwise,
    ops.Matmul: SoftBlock._matmul,
    ops.Softmax: SoftBlock._softmax,
    ops.Activation: SoftBlock._activation,
    ops.LayerNorm: SoftBlock._norm,
}
"""Ops with operands or tensors that are learned; all others compute in float or move values."""
