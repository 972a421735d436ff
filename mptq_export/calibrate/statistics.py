"""Streaming statistics: memory depends on the model, never on the number of images."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.calibrate.sites import sites
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node
from mptq_export.errors import MptqError


@dataclass
class Range:
    """What was seen of one value, in its own units.

    Attributes:
        low: smallest element.
        high: largest element.
        lowest_peak: smallest maximum of a row (last axis); what softmax subtracts.
    """

    low: float = float("inf")
    high: float = float("-inf")
    lowest_peak: float = float("inf")

    def update(self, value: torch.Tensor, *, peaks: bool) -> None:
        """Take one batch into account."""
        low, high = torch.aminmax(value)
        self.low = min(self.low, float(low))
        self.high = max(self.high, float(high))
        if peaks:
            self.lowest_peak = min(self.lowest_peak, float(value.amax(-1).min()))

    @property
    def magnitude(self) -> float:
        """Largest absolute value."""
        return max(abs(self.low), abs(self.high))


@dataclass
class Statistics:
    """Ranges of every site (by site key) and of every value (by value name).

    Attributes:
        sites: range of every quantized operand.
        values: range of every computed value (for the residual grid).
        images: how many images were seen.
    """

    sites: dict[str, Range]
    values: dict[str, Range]
    images: int


def collect(graph: Graph, batches: Iterable[NDArray[np.float32]], device: str = "cpu") -> Statistics:
    """Run calibration batches through the float graph.

    Args:
        graph: prepared canonical graph.
        batches: float32 batches in the layout of the graph's input.
        device: torch device that runs the graph.

    Raises:
        MptqError: no batch was given, or a value is not finite.
    """
    all_sites = sites(graph)
    by_value: dict[str, list[str]] = {}
    for site in all_sites:
        by_value.setdefault(site.value, []).append(site.key)
    peaks = {site.value for site in all_sites if site.kind == "scores"}
    stats = Statistics({site.key: Range() for site in all_sites}, {}, 0)

    def observe(node: Node, value: torch.Tensor) -> None:
        if node.op == "constant":
            return
        seen = stats.values.setdefault(node.name, Range())
        seen.update(value, peaks=node.name in peaks)
        if not np.isfinite(seen.magnitude):
            raise MptqError(
                f"{node.name}: calibration gives a value that is not finite; check the checkpoint and images"
            )
        for key in by_value.get(node.name, ()):
            stats.sites[key] = seen

    moved = graph.to(device)
    with torch.no_grad():
        for batch in batches:
            evaluate(moved, torch.from_numpy(batch).to(device), observe)
            stats.images += len(batch)
    if stats.images == 0:
        raise MptqError("calibration got no images")
    return stats
