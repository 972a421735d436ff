"""The true objective of a candidate: the divergence of the outputs of every image from the float model's.

Activations are kept at block boundaries, so that a candidate costs only the blocks from its layer on.
"""

import weakref
from collections.abc import Callable

import torch

from mptq_export.allocate.form import Catalogue
from mptq_export.allocate.units import Widths
from mptq_export.capture.blocks import split_blocks
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.support.processes.group import Alone, Group, Seat

#: Images that go through a block at once: the values of more do not stay in a CPU's caches.
_IMAGES = 4


Distance = Callable[[torch.Tensor, torch.Tensor], list[float]]
"""Of the float model's output and another, both [B, values]: a number an image, or one for all."""


class Evaluator:
    """Measures widths one after another."""

    def __init__(
        self,
        graph: Graph,
        catalogue: Catalogue,
        images: torch.Tensor,
        distance: Distance,
        group: Group | None = None,
    ) -> None:
        """Measure the float model.

        Args:
            graph: the graph of the catalogue.
            catalogue: quantizers of every width.
            images: float32 inputs.
            distance: what is measured.
            group: processes that share the images; None: this one alone.
        """
        self._distance, self._group, self._key = distance, group or Alone(), f"evaluator {id(self)}"
        self._float = _joined(self._group.call(_open, self._key, graph, catalogue, images))
        weakref.finalize(self, self._group.drop, self._key)

    def divergences(self, widths: Widths) -> list[float]:
        """Divergence of every image, or one number for all."""
        return self._distance(self._float, self.outputs(widths))

    def outputs(self, widths: Widths) -> torch.Tensor:
        """What the quantized model gives, [B, values]."""
        return _joined(self._group.call(_outputs, self._key, widths))


def _joined(shares: list[torch.Tensor | None]) -> torch.Tensor:
    """Of all images, from those of every process that has some."""
    return torch.cat([share for share in shares if share is not None])


def _open(seat: Seat, key: str, graph: Graph, catalogue: Catalogue, images: torch.Tensor) -> torch.Tensor | None:
    """Keep a share of the images; the float model's outputs for it."""
    own = seat.share(torch.split(images, _IMAGES))
    if not own:
        return None
    seat.kept[key] = _Share(graph, catalogue, torch.cat(list(own)))
    with torch.no_grad():
        return torch.cat([evaluate(graph, some.double()) for some in own])


def _outputs(seat: Seat, key: str, widths: Widths) -> torch.Tensor | None:
    """The quantized model's for the share that `_open` kept."""
    share: _Share | None = seat.kept.get(key)
    return None if share is None else share.outputs(widths)


class _Share:
    """The quantized model on some images."""

    def __init__(self, graph: Graph, catalogue: Catalogue, images: torch.Tensor) -> None:
        self._graph, self._catalogue, self._images = graph, catalogue, images
        self._simulator = catalogue.simulator(graph)
        self._blocks = split_blocks(graph, whole=True)
        self._block_of = {graph.input.name: 0}
        for index, block in enumerate(self._blocks):
            for node in block.nodes:
                self._block_of.setdefault(node.name, index)  # constants are in every block that reads them
        self._inputs: list[torch.Tensor] = []
        self._widths: Widths = {}

    def outputs(self, widths: Widths) -> torch.Tensor:
        """[B, values]; blocks before the first change from the last call are reused."""
        changed = {layer: pair for layer, pair in widths.items() if self._widths.get(layer) != pair}
        nodes = self._catalogue.install(self._simulator, changed, self._images.device)
        first = min((self._block_of[name] for name in nodes if name in self._block_of), default=len(self._blocks))
        first = max(0, min(first, len(self._inputs) - 1))
        self._widths = dict(widths)
        del self._inputs[first + 1 :]
        if first == 0:
            self._inputs = [self._catalogue.given(self._simulator, self._graph, self._images)]
        with torch.no_grad():
            for block in self._blocks[first:]:
                chunks = torch.split(self._inputs[-1], _IMAGES)
                self._inputs.append(torch.cat([block.run(some, self._simulator.compute) for some in chunks]))
        return self._inputs[-1]
