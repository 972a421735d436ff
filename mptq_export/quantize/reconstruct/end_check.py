"""Whether learning helped: the divergence of the outputs themselves, with the recipe before and after.

Every block is judged by an estimate of what its error costs. Errors of blocks add up or cancel, so only the outputs say
what came of it.
"""

from dataclasses import dataclass
from functools import partial

import torch

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.quantize.reconstruct.memory import FittingBatches
from mptq_export.quantize.reconstruct.refold import Folded
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import Recipe


@dataclass(frozen=True)
class EndCheck:
    """Divergences of finished recipes.

    Attributes:
        graph: of the recipe that learning began with, float32.
        folded: gives the graphs of recipes.
        images: float32 inputs that nothing was fitted to.
        batches: how many of them are computed at once.
    """

    graph: Graph
    folded: Folded
    images: torch.Tensor
    batches: FittingBatches

    def better(self, before: Recipe, after: Recipe) -> tuple[Recipe, str]:
        """The recipe whose outputs diverge less, on average over the images; the first one where they are alike.

        Args:
            before: the recipe that learning began with.
            after: the learned one.

        Returns:
            One of the two, and a warning; empty where it is the learned one.
        """
        if after is before:
            return before, "--reconstruct changed nothing: no block got better on images that nothing was fitted to"
        old, new = (self.divergence(recipe) for recipe in (before, after))
        if new < old:
            return after, ""
        return before, (
            f"--reconstruct did not help: on {len(self.images)} images outputs of the learned numbers diverge by "
            f"{new:.4g}, those before by {old:.4g}; the file has the numbers before"
        )

    def divergence(self, recipe: Recipe) -> float:
        """Mean over the images of how far the recipe's outputs are from the float model's, in its metric's unit."""
        graph = self.folded.of(recipe)
        simulator = Simulator.of(graph, recipe, self.images.device)
        return self.batches.run(partial(self._divergence, simulator, graph))

    def _divergence(self, simulator: Simulator, graph: Graph, at_once: int) -> float:
        total = torch.zeros((), dtype=torch.float64)
        with torch.no_grad():
            for some in torch.split(self.images, at_once):
                found, exact = simulator.logits(graph, some), evaluate(self.graph, some)
                total += divergence(self.graph, exact, found).sum().cpu()
        return float(total) / len(self.images)
