"""The quantized model in torch: the numbers of the emitted graph, up to the rounding of float32 sums."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from mptq_export.calibrate.sites import Site, sites
from mptq_export.capture.evaluate import compute, evaluate, patches
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.fake import codes, fake_quantize
from mptq_export.quantize.weights import dequantized
from mptq_export.recipe.schema import ActivationQuant, Recipe, WeightQuant


class Simulator:
    """Computes nodes with quantized operands and weights.

    Attributes:
        sites: the sites of every node, by its name.
        scores: the site of every matmul whose product is quantized before a softmax, by the matmul's name.
        activations: quantizers by site key; they may grow while a recipe is built.
        weights: dequantized weight and bias of every linear layer and patch embedding, by node name.
    """

    def __init__(self, graph: Graph) -> None:
        self.sites: dict[str, list[Site]] = {}
        self.scores: dict[str, Site] = {}
        self.activations: dict[str, ActivationQuant] = {}
        self.weights: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for site in sites(graph):
            self.sites.setdefault(site.node.name, []).append(site)
            if site.kind == "scores":
                self.scores[site.value] = site

    @staticmethod
    def of(graph: Graph, recipe: Recipe, device: torch.device | str = "cpu") -> "Simulator":
        """The simulator of a finished recipe; `graph` has the recipe's transforms."""
        simulator = Simulator(graph)
        simulator.activations = dict(recipe.activations)
        for name, quant in recipe.weights.items():
            simulator.set_weight(name, quant, torch.device(device))
        return simulator

    def set_weight(self, name: str, quant: WeightQuant, device: torch.device) -> None:
        """Use the codes of one layer."""
        codes, scale, bias = (torch.from_numpy(part).to(device) for part in (quant.codes, quant.scale, quant.bias))
        self.weights[name] = (dequantized(codes, scale), bias)

    def logits(self, graph: Graph, images: torch.Tensor) -> torch.Tensor:
        """Output of the quantized model for a float32 batch in the layout of the graph's input."""
        return evaluate(graph, images, compute_node=self.compute)

    def compute(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        """The quantized value of a node.

        A softmax gives the unnormalised `exp(x - max)`: the matmul that reads it makes codes of it and divides by
        their sum. Scores are quantized here as soon as their quantizer is known.
        """
        if node.op == "softmax":
            return (inputs[0] - inputs[0].amax(-1, keepdim=True)).exp_()
        if node.op == "patch_embed":
            x = fake_quantize(inputs[0], self.activations[f"{node.name}.input"])
            return F.linear(patches(x, node.attrs["patch"]), *self.weights[node.name])
        total = None
        inputs = list(inputs)
        for site in self.sites.get(node.name, ()):
            quant = self.activations[site.key]
            if site.kind == "attention":
                inputs[0] = codes(inputs[0], quant)
                total = inputs[0].sum(-1, keepdim=True)
            else:
                position = 1 if site.key.endswith(".b") else 0
                inputs[position] = fake_quantize(inputs[position], quant)
        if node.op == "linear":
            return F.linear(inputs[0], *self.weights[node.name])
        result = compute(node, inputs)
        if total is not None:
            result = result / total
        if node.name in self.scores and self.scores[node.name].key in self.activations:
            result = fake_quantize(result, self.activations[self.scores[node.name].key])
        return result
