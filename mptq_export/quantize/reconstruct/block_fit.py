"""Gradient descent on one block, judged on images that nothing was fitted to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from mptq_export.capture.blocks import Block
from mptq_export.capture.evaluate import Compute
from mptq_export.capture.graph import Graph
from mptq_export.quantize.reconstruct.learnable import Learnable
from mptq_export.quantize.reconstruct.learning import Learning
from mptq_export.quantize.reconstruct.memory import FittingBatches
from mptq_export.quantize.reconstruct.refold import Folded
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import Recipe

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""A scalar from what a block gives for some images and what it should give."""

#: How often what was learned is judged, at equal distances.
_CHECKS = 4


@dataclass(frozen=True)
class BlockValues:
    """What a block reads and should give, for all images; rows of one image lie beside each other.

    Attributes:
        images: how many there are.
        judging: so many of them, the last ones, judge what was learned from the others.
        exact: float32, what the block reads in the float model.
        value: float32, what the quantized blocks before it give.
        target: float32, what it gives in the float model.
    """

    images: int
    judging: int
    exact: torch.Tensor
    value: torch.Tensor
    target: torch.Tensor

    def of(self, values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The rows of some images."""
        shape = values.shape
        return values.reshape(self.images, -1, *shape[1:])[chosen.to(values.device)].reshape(-1, *shape[1:])


def in_batches(
    block: Block, value: torch.Tensor, compute: Compute, images: int, batches: FittingBatches
) -> torch.Tensor:
    """What a block gives for all images, a few at a time, without gradients."""
    rows = len(value) // images

    def work(at_once: int) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([block.run(some, compute) for some in torch.split(value, at_once * rows)])

    return batches.run(work)


def of_graph(block: Block, graph: Graph) -> Block:
    """The same block of a graph in which some of its nodes were replaced."""
    return replace(block, nodes=tuple(graph[node.name] for node in block.nodes))


def simulator_of(block: Block, graph: Graph, recipe: Recipe, device: torch.device) -> Simulator:
    """The quantized model of a recipe, with the weights of one block."""
    names = {node.name for node in block.nodes} & recipe.weights.keys()
    return Simulator.of(graph, replace(recipe, weights={name: recipe.weights[name] for name in names}), device)


class BlockFit:
    """Learns one block."""

    def __init__(
        self,
        folded: Folded,
        recipe: Recipe,
        block: Block,
        values: BlockValues,
        loss: Loss,
        *,
        learning: Learning,
        batches: FittingBatches,
    ) -> None:
        """Stand at the recipe.

        Args:
            folded: gives the graphs of recipes, float32.
            recipe: with what was learned so far.
            block: the block.
            values: of all images.
            loss: what is made small.
            learning: how.
            batches: how many images are computed at once.
        """
        self._folded, self._recipe, self._block, self._values = folded, recipe, block, values
        self._loss, self._learning, self._batches = loss, learning, batches
        everything = torch.arange(values.images)
        self._fitting, self._judging = everything[: -values.judging], everything[-values.judging :]

    def learn(self, tick: Callable[[], None]) -> Recipe:
        """Learn, and keep the best that was judged; the recipe itself where nothing is better.

        Args:
            tick: called after every step.
        """
        graph, learning = self._folded.of(self._recipe), self._learning
        simulator = simulator_of(self._block, graph, self._recipe, self._values.value.device)
        learnable = Learnable.of(graph, self._recipe, of_graph(self._block, graph), simulator, self._values.target)
        if not learnable.rounds:
            return self._recipe
        best, before = self._recipe, self._judged(self._recipe)
        least = before
        compute = learnable.soft(simulator).compute
        optimizer = torch.optim.Adam(learnable.parameters(learning))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, learning.steps)
        checks = {learning.steps * (check + 1) // _CHECKS for check in range(_CHECKS)}
        unit = max(before, torch.finfo(torch.float32).tiny)  # Adam has an absolute smallest gradient
        for step, drawn in enumerate(self._drawn(), 1):
            self._batches.run(partial(self._backward, compute, drawn, optimizer, unit))
            optimizer.step()
            schedule.step()
            if step in checks:
                if not learnable.finite:
                    break
                recipe = learnable.finished()
                now = self._judged(recipe)
                if now < least:
                    best, least = recipe, now
            tick()
        if best is self._recipe:
            return best
        return learnable.noted(best, f"learned with its block: loss on other images {before:.3g} -> {least:.3g}")

    def _drawn(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The images of every step, and what the block reads of them: all images come once before one comes again."""
        generator, learning, values = torch.Generator().manual_seed(0), self._learning, self._values
        order = torch.empty(0, dtype=torch.long)
        count = min(learning.batch, len(self._fitting))
        for _ in range(learning.steps):
            if len(order) < count:
                order = torch.randperm(len(self._fitting), generator=generator)
            chosen, order = self._fitting[order[:count]], order[count:]
            mixed = values.of(values.value, chosen)
            if learning.float_share:
                drawn = torch.rand(mixed.shape, generator=generator).to(mixed.device)
                mixed = torch.where(drawn < learning.float_share, values.of(values.exact, chosen), mixed)
            yield chosen, mixed

    def _backward(
        self,
        compute: Compute,
        drawn: tuple[torch.Tensor, torch.Tensor],
        optimizer: torch.optim.Optimizer,
        unit: float,
        at_once: int,
    ) -> None:
        """The gradients of a step, a few of its images at a time."""
        optimizer.zero_grad()
        chosen, mixed = drawn
        rows = len(mixed) // len(chosen)
        for some, images in zip(torch.split(mixed, at_once * rows), torch.split(chosen, at_once), strict=True):
            found = self._block.run(some, compute)
            loss = self._loss(found, self._values.of(self._values.target, images))
            (loss * (len(images) / len(chosen) / unit)).backward()  # type: ignore[no-untyped-call]

    def _judged(self, recipe: Recipe) -> float:
        """The loss of a finished recipe on the images that judge, as the file computes it."""
        values, held, graph = self._values, self._judging, self._folded.of(recipe)
        compute = simulator_of(self._block, graph, recipe, values.value.device).compute
        value = values.of(values.value, held)
        found = in_batches(of_graph(self._block, graph), value, compute, len(held), self._batches)
        with torch.no_grad():
            return float(self._loss(found, values.of(values.target, held)))
