"""All that is learned of one block, with what it must keep: what is certified, shared, or read elsewhere."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from mptq_export.calibrate.sites import Site, SiteKind
from mptq_export.capture import ops
from mptq_export.capture.blocks import Block
from mptq_export.capture.calls import calls
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import LayerNorm
from mptq_export.quantize.certification.certify import certify_activation
from mptq_export.quantize.reconstruct.learned import WIDE_ENOUGH, LearnedNorm, LearnedSite, LearnedWeight
from mptq_export.quantize.reconstruct.learning import Learning
from mptq_export.quantize.reconstruct.soft_block import SoftBlock
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.support.errors import MptqError
from mptq_export.transform.fold_sq_b import sq_b_readers


@dataclass(frozen=True)
class Learnable:
    """What is learned of one block.

    Attributes:
        graph: with all transforms, float32.
        recipe: with what was learned of the blocks before.
        weights: by the names of layers.
        sites: by the keys of sites; operands that read one value at one width have one.
        norms: by the names of layer norms.
        zeros: those of the sites whose zero point is learned too.
    """

    graph: Graph
    recipe: Recipe
    weights: dict[str, LearnedWeight]
    sites: dict[str, LearnedSite]
    norms: dict[str, LearnedNorm]
    zeros: list[LearnedSite]

    @staticmethod
    def of(graph: Graph, recipe: Recipe, block: Block, simulator: Simulator, target: torch.Tensor) -> "Learnable":
        """Everything of a block, as the recipe has it.

        Args:
            graph: with all transforms, float32, on the device that computes.
            recipe: with what was learned of the blocks before.
            block: of that graph.
            simulator: of the same; it knows the sites.
            target: what the float model gives there; its device computes, its deviation is the unit of biases.
        """
        alone, spread, device = layers_alone(graph), float(target.std()), target.device
        layers = [node for node in block.nodes if node.name in alone]
        weights = {node.name: LearnedWeight(recipe.weights[node.name], node, spread) for node in layers}
        norms = {}
        for node in block.nodes:
            readers = _readers_that_follow(graph, recipe, node, weights)
            if readers:
                unit = recipe.activations[f"{readers[0].name}.input"].scale
                norms[node.name] = LearnedNorm.of(node, recipe.sq_b[node.name], unit)
                for reader in readers:
                    weights[reader.name].norm = norms[node.name]
        sites: dict[str, LearnedSite] = {}
        zeros: list[LearnedSite] = []
        for group in _groups_of_sites(recipe, block, simulator):
            learned = LearnedSite(recipe.activations[group[0].key], device)
            sites |= {site.key: learned for site in group}
            if _zero_may_move(graph, group, learned.quant):
                zeros.append(learned)
        return Learnable(graph, recipe, weights, sites, norms, zeros)

    @property
    def rounds(self) -> bool:
        """Whether there is anything that a block is learned for: codes of fewer than 8 bits."""
        return any(weight.rounds for weight in self.weights.values()) or bool(self.sites)

    def soft(self, simulator: Simulator) -> SoftBlock:
        """What computes the block with it."""
        return SoftBlock(simulator, self.weights, self.sites, self.norms)

    def parameters(self, learning: Learning) -> list[dict[str, Any]]:
        """What an optimizer moves, and how fast."""
        rounding = [weight for weight in self.weights.values() if weight.rounds]
        sites = list({id(site): site for site in self.sites.values()}.values())
        groups = [
            ([weight.latent for weight in rounding], learning.code_rate),
            ([weight.log_scale for weight in rounding], learning.scale_rate),
            ([weight.bias for weight in self.weights.values()], learning.bias_rate),
            ([site.log_scale for site in sites], learning.site_rate),
            ([site.zero for site in self.zeros], learning.zero_rate),
            ([norm.log_gain for norm in self.norms.values()], learning.gain_rate),
            ([norm.offset for norm in self.norms.values()], learning.offset_rate),
        ]
        return [
            {"params": [tensor.requires_grad_() for tensor in tensors], "lr": rate}
            for tensors, rate in groups
            if tensors
        ]

    @property
    def finite(self) -> bool:
        """Whether all that is learned is numbers: steps may be too large for a block."""
        groups = self.parameters(Learning())
        return all(bool(tensor.isfinite().all()) for group in groups for tensor in group["params"])

    def finished(self) -> Recipe:
        """The recipe as a file can have it.

        Ranges of what is certified are certified again; one that cannot be stays as it was.
        """
        activations = dict(self.recipe.activations)
        for key, site in self.sites.items():
            activations[key] = self._certified(key, site.finished())
        weights = {n: w.finished(activations[f"{n}.input"].scale) for n, w in self.weights.items()}
        sq_b = {name: norm.finished() for name, norm in self.norms.items()}
        return replace(
            self.recipe,
            activations=activations,
            weights=self.recipe.weights | weights,
            sq_b=self.recipe.sq_b | sq_b,
        )

    def noted(self, recipe: Recipe, note: str) -> Recipe:
        """A recipe that `finished` gave, with a note behind the reasons of all that was learned."""
        weights, activations, sq_b = dict(recipe.weights), dict(recipe.activations), dict(recipe.sq_b)
        for name in self.weights:
            weights[name] = replace(weights[name], reason=_joined(weights[name].reason, note))
        for key in self.sites:
            activations[key] = replace(activations[key], reason=_joined(activations[key].reason, "learned"))
        for name in self.norms:
            sq_b[name] = replace(sq_b[name], reason=_joined(sq_b[name].reason, "learned"))
        return replace(recipe, weights=weights, activations=activations, sq_b=sq_b)

    def _certified(self, key: str, quant: ActivationQuant) -> ActivationQuant:
        name, _, operand = key.rpartition(".")
        root = self.graph.root(self.graph[name].inputs[operand == "b"])
        if not isinstance(root.op, ops.Activation):
            return quant
        source = self.recipe.activations[f"{root.name}.input"]
        try:
            return certify_activation(key, source, quant, root.op.function)
        except MptqError:
            return self.recipe.activations[key]


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def layers_alone(graph: Graph) -> set[str]:
    """Layers that are called once: codes of others are of all their calls, which may lie in several blocks."""
    return {name for name, names in calls(graph).items() if len(names) == 1}


def _readers_that_follow(graph: Graph, recipe: Recipe, node: Node, weights: dict[str, LearnedWeight]) -> list[Node]:
    """The layers behind a layer norm whose SQ-b may be learned: their weights can take back what it changes."""
    if not isinstance(node.op, LayerNorm) or node.name not in recipe.sq_b:
        return []
    readers = sq_b_readers(graph, node)
    narrow = all(recipe.activations[f"{reader.name}.input"].bits < WIDE_ENOUGH for reader in readers)
    follow = all(reader.name in weights and weights[reader.name].rounds for reader in readers)
    return readers if narrow and follow else []


def _groups_of_sites(recipe: Recipe, block: Block, simulator: Simulator) -> list[list[Site]]:
    """Sites of few bits whose range may be learned, by the value and the quantizer that they share.

    Scores and attention codes are certified for each other and stay; so does what is read outside of the block too.
    """
    names = {node.name for node in block.nodes}
    groups: dict[tuple[str, ActivationQuant], list[Site]] = {}
    for site in (site for sites in simulator.sites.values() for site in sites):
        quant = recipe.activations[site.key]
        if site.kind in (SiteKind.LINEAR, SiteKind.MATMUL) and quant.bits < WIDE_ENOUGH:
            groups.setdefault((site.value, quant), []).append(site)
    return [group for group in groups.values() if all(site.node.name in names for site in group)]


def _zero_may_move(graph: Graph, group: list[Site], quant: ActivationQuant) -> bool:
    """Of what attention gives: factors of products and rectified values have fixed zero points, norms an offset."""
    of_product = isinstance(graph.root(group[0].value).op, ops.Matmul)
    return of_product and not quant.regions and all(site.kind == SiteKind.LINEAR for site in group)
