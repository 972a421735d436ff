"""Learned rounding (opt-in): gradient descent on the blocks of a finished recipe, one after the other.

As in BRECQ (arXiv 2102.05426) and QDrop (arXiv 2203.05740), a block is fitted to what the float model gives there, on
the inputs that the quantized blocks before it give. Learned are codes, scales and biases of weights, ranges of
activations, and the gains and offsets of SQ-b. What counts of an error is estimated from the gradients of the outputs'
divergence (`loss.py`); the last block is fitted to the divergence itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from mptq_export.capture.blocks import Block, split_blocks, trunk
from mptq_export.capture.evaluate import Compute, computed_in
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Weighted
from mptq_export.quantize.reconstruct.block_fit import BlockFit, BlockValues, Loss, in_batches, of_graph, simulator_of
from mptq_export.quantize.reconstruct.end_check import EndCheck
from mptq_export.quantize.reconstruct.gradients import gradients_at, lost, single_output
from mptq_export.quantize.reconstruct.journal import Journal
from mptq_export.quantize.reconstruct.learnable import layers_alone
from mptq_export.quantize.reconstruct.learning import FEW, Learning, judging_images
from mptq_export.quantize.reconstruct.loss import BlockLoss
from mptq_export.quantize.reconstruct.memory import FittingBatches
from mptq_export.quantize.reconstruct.refold import Folded
from mptq_export.recipe.schema import Recipe
from mptq_export.support.progress import SILENT, Bar

#: Images whose gradients the loss of a block is estimated from, at most.
_GRADIENTS = 32

_FLOAT = computed_in(torch.float32)


Warn = Callable[[str], None]
"""Takes one sentence."""


def reconstruct(
    graph: Graph,
    recipe: Recipe,
    images: torch.Tensor,
    *,
    held_back: torch.Tensor | None = None,
    learning: Learning | None = None,
    journal: Journal | None = None,
    bar: Bar = SILENT,
    warn: Warn = lambda _sentence: None,
) -> Recipe:
    """Learn the blocks of a recipe.

    Args:
        graph: the graph of the recipe with its transforms applied, on the device that computes.
        recipe: a finished recipe of the exact form.
        images: float32 calibration inputs on that device.
        held_back: others of the same data there, which tell whether it helped; None where there are none.
        learning: how long and how fast; None: as measured.
        journal: holds blocks that an interrupted run learned, and takes those of this one.
        bar: advances by `cost` in all.
        warn: told of what is not as it could be: few images, layers that are left out, a GPU that is too small,
            learning that did not help.

    Returns:
        A recipe with learned numbers, whose reasons say of which block; the recipe itself where they bring the outputs
        no nearer to the float model's on images that nothing was fitted to. Its SQ-b is not that of the graph any more:
        `refolded` gives the graph that it is of.
    """
    graph, learning = graph.cast(torch.float32), learning or Learning()
    blocks = split_blocks(trunk(graph))
    for sentence in warnings_of(graph, len(images)):
        warn(sentence)
    batches = FittingBatches(2 * learning.batch, warn)
    with torch.backends.cudnn.flags(deterministic=True):
        judging = judging_images(images)
        everything = torch.cat([images, judging])
        run = _Run(graph, Folded(graph, recipe), blocks, everything, len(judging), learning, batches)
        learned = run.all_blocks(recipe, journal, bar)
        if all(learned.weights[name] is quant for name, quant in recipe.weights.items()):
            warn("--reconstruct changed nothing: no block got better")
            return recipe
        check = EndCheck.of(run.folded, learned, images, held_back, batches)
    if check.helped:
        return check.noted(learned)
    warn(check.warning)
    return recipe


@dataclass(frozen=True)
class _Run:
    """What stays the same for all blocks.

    Attributes:
        graph: with all transforms, float32.
        folded: gives the graphs of recipes.
        blocks: of the graph.
        images: float32 calibration inputs, and behind them those that judge.
        judging: how many these are.
        learning: how long and how fast.
        batches: how many images are computed at once.
    """

    graph: Graph
    folded: Folded
    blocks: list[Block]
    images: torch.Tensor
    judging: int
    learning: Learning
    batches: FittingBatches

    def all_blocks(self, recipe: Recipe, journal: Journal | None, bar: Bar) -> Recipe:
        """Learn one block after the other, or take it from the journal."""
        output = self._exact_output()
        exact = value = self.images
        for number, block in enumerate(self.blocks):
            target = self._computed(block, exact, _FLOAT)
            known = None if journal is None else journal.read(number, recipe)
            if known is None:
                values = BlockValues(len(self.images), self.judging, exact, value, target)
                known = self._learned(number, recipe, values, output, partial(bar.advance, block.numbers))
                if journal is not None:
                    journal.write(number, recipe, known)
            else:
                bar.advance(block.numbers * self.learning.steps)
            recipe = known
            exact, value = target, self._quantized(block, recipe, value)
        return recipe

    def _learned(
        self, number: int, recipe: Recipe, values: BlockValues, output: torch.Tensor | None, tick: Callable[[], None]
    ) -> Recipe:
        """The recipe with one more block."""
        block = self.blocks[number]
        loss: Loss = BlockLoss.squared_error(values.target)
        if output is not None and number == len(self.blocks) - 1:
            loss = partial(_divergence, self.graph)
        elif output is not None:
            loss = self._estimated(number, recipe, values, output)
        fit = BlockFit(self.folded, recipe, block, values, loss, learning=self.learning, batches=self.batches)
        return fit.learn(tick)

    def _estimated(self, number: int, recipe: Recipe, values: BlockValues, output: torch.Tensor) -> BlockLoss:
        """The loss of a block from gradients at what the recipe gives there, on images that are evenly spread."""
        fitting = values.images - values.judging
        count = min(_GRADIENTS, fitting)
        chosen = torch.arange(count) * fitting // count
        found = self._quantized(self.blocks[number], recipe, values.of(values.value, chosen), count)
        behind, exact = self.blocks[number + 1 :], output[chosen.to(output.device)]
        gradients = self.batches.run(partial(gradients_at, self.graph, behind, found, exact))
        error = found - values.of(values.target, chosen)
        return BlockLoss.closed_form(gradients, error, rank_one=self.learning.rank_one)

    def _computed(self, block: Block, value: torch.Tensor, compute: Compute, images: int | None = None) -> torch.Tensor:
        return in_batches(block, value, compute, images or len(self.images), self.batches)

    def _quantized(self, block: Block, recipe: Recipe, value: torch.Tensor, images: int | None = None) -> torch.Tensor:
        """What a block of a recipe gives, as the file computes it."""
        graph = self.folded.of(recipe)
        compute = simulator_of(block, graph, recipe, value.device).compute
        return self._computed(of_graph(block, graph), value, compute, images)

    def _exact_output(self) -> torch.Tensor | None:
        """What the float model gives; None where the last block does not give all of it."""
        if not single_output(self.graph) or self.blocks[-1].result not in self.graph.outputs.values():
            return None
        value = self.images
        for block in self.blocks:
            value = self._computed(block, value, _FLOAT)
        return value


def _divergence(graph: Graph, found: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    return lost(graph, exact, found).mean()


def warnings_of(graph: Graph, images: int) -> list[str]:
    """What is not as it could be, known before anything is learned.

    Args:
        graph: with all transforms.
        images: how many there are.
    """
    found = []
    if images < FEW:
        found.append(f"--reconstruct learns from {images} images; with fewer than {FEW} it fits them, not the model")
    inside = {node.name for block in split_blocks(trunk(graph)) for node in block.nodes} & layers_alone(graph)
    left = [node.name for node in graph if isinstance(node.op, Weighted) and node.name not in inside]
    if left:
        others = f" and {len(left) - 1} more" if len(left) > 1 else ""
        found.append(
            f"--reconstruct leaves {left[0]}{others} as they are: several calls share their weights, or no single "
            "value carries all that lies between them"
        )
    return found


def cost(graph: Graph, learning: Learning | None = None) -> float:
    """What `reconstruct` advances its bar by in all."""
    return sum(block.numbers for block in split_blocks(trunk(graph))) * (learning or Learning()).steps
