"""Streaming statistics: memory depends on the model, never on the number of images."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.capture.deferred import evaluate_in_parts
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Constant
from mptq_export.support.errors import MptqError


@dataclass
class Range:
    """What was seen of one value, in its own units.

    Attributes:
        low: smallest element.
        high: largest element.
    """

    low: float = float("inf")
    high: float = float("-inf")

    def update(self, value: torch.Tensor) -> None:
        """Take one batch into account."""
        low, high = torch.aminmax(value)
        self.low = float(np.minimum(self.low, float(low)))  # Python's own would lose what is no number
        self.high = float(np.maximum(self.high, float(high)))

    @property
    def magnitude(self) -> float:
        """Largest absolute value."""
        return max(abs(self.low), abs(self.high))


@dataclass
class Statistics:
    """Ranges of every value.

    Attributes:
        values: range of every computed value, by its name.
        images: how many images were seen.
    """

    values: dict[str, Range] = field(default_factory=dict)
    images: int = 0


def collect(graph: Graph, batches: Iterable[NDArray[np.float32]], device: str = "cpu") -> Statistics:
    """Run calibration batches through the float graph.

    Args:
        graph: prepared canonical graph.
        batches: float32 batches in the layout of the graph's input.
        device: torch device that runs the graph.

    Raises:
        MptqError: no batch was given, or a value is not finite.
    """
    stats = Statistics()

    def observe(node: Node, value: torch.Tensor) -> None:
        if isinstance(node.op, Constant):
            return
        seen = stats.values.setdefault(node.name, Range())
        seen.update(value)
        if not np.isfinite(seen.magnitude):
            raise MptqError(
                f"{node.name}: calibration gives a value that is not finite; check the checkpoint and images"
            )

    moved = graph.to(device)
    with torch.no_grad():
        for batch in batches:
            evaluate_in_parts(moved, torch.from_numpy(batch).to(device), observe)
            stats.images += len(batch)
    if stats.images == 0:
        raise MptqError("calibration got no images")
    return stats
