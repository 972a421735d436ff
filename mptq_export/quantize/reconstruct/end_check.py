"""Whether all blocks together brought the model nearer to the float one: what is good for each need not be for it."""

from dataclasses import dataclass, replace

import torch

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.quantize.reconstruct.learning import unseen
from mptq_export.quantize.reconstruct.memory import FittingBatches
from mptq_export.quantize.reconstruct.refold import Folded
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import Recipe

#: Images that it is measured on, at most.
MOST = 128


@dataclass(frozen=True)
class EndCheck:
    """The mean divergence of the model's outputs with two recipes, on images that nothing was fitted to.

    Attributes:
        images: which ones, for people.
        before: with the recipe that learning started from.
        after: with what was learned.
    """

    images: str
    before: float
    after: float

    @staticmethod
    def of(
        folded: Folded, learned: Recipe, images: torch.Tensor, held_back: torch.Tensor | None, batches: FittingBatches
    ) -> "EndCheck":
        """Measure.

        Args:
            folded: the graph and the recipe that learning started from.
            learned: what came of it.
            images: float32 calibration inputs.
            held_back: others of the same kind; None where there are none: then calibration inputs stand in for them,
                mirrored and moved.
            batches: how many images are computed at once.
        """
        others, what = held_back, "other images"
        if others is None:
            count = min(MOST, len(images))
            others = unseen(images[torch.arange(count, device=images.device) * len(images) // count])
            what = "calibration images, mirrored and moved"
        graph = folded.graph
        exact = _outputs(graph, None, others, batches)
        before, after = (
            float(divergence(graph, exact, _outputs(folded.of(recipe), recipe, others, batches)).mean())
            for recipe in (folded.recipe, learned)
        )
        return EndCheck(f"{len(others)} {what}", before, after)

    @property
    def helped(self) -> bool:
        """Whether what was learned is better; what is not a number never is."""
        return self.after < self.before

    @property
    def warning(self) -> str:
        """What is said where it is not."""
        return (
            f"--reconstruct did not help: the divergence of the outputs is {self.after:.4g} with what was learned and "
            f"{self.before:.4g} without, on {self.images}; it is left out"
        )

    def noted(self, recipe: Recipe) -> Recipe:
        """What was learned, with the figures behind the reason of the last layer that was."""
        name = next(n for n, quant in reversed(recipe.weights.items()) if "learned with its block" in quant.reason)
        quant = recipe.weights[name]
        note = f"divergence of the model's outputs on {self.images} {self.before:.4g} -> {self.after:.4g}"
        return replace(recipe, weights=recipe.weights | {name: replace(quant, reason=f"{quant.reason}; {note}")})


def _outputs(graph: Graph, recipe: Recipe | None, images: torch.Tensor, batches: FittingBatches) -> torch.Tensor:
    """All outputs of the float model, or of the quantized one."""
    compute = None if recipe is None else Simulator.of(graph, recipe, images.device).compute

    def work(at_once: int) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([evaluate(graph, some, compute_node=compute) for some in torch.split(images, at_once)])

    return batches.run(work)
