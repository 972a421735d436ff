"""What quantizers are chosen from: a graph, the calibration images, and how much every row of a layer counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.graph import Graph
from mptq_export.quantize.method import Method
from mptq_export.quantize.objective.row_importance import row_importance
from mptq_export.quantize.residual_grid import grid_exponents
from mptq_export.recipe.metric import MetricName
from mptq_export.support.memory import trim
from mptq_export.support.processes.group import Group

#: Images per backward pass.
_BATCH = 8


@dataclass(frozen=True)
class CalibratedGraph:
    """A graph that is ready to be quantized.

    Attributes:
        graph: prepared canonical graph, on the device that computes.
        stats: calibration statistics of that graph; they give the residual grids.
        images: float32 calibration inputs, all of them, on the same device.
        importance: how much every row counts, float64 [rows] per layer, as `row_importance` gives it; empty where all
            count alike, None where it was not measured.
        metric: by which the outputs are compared for that; None takes that of their kinds.
    """

    graph: Graph
    stats: Statistics
    images: torch.Tensor
    importance: dict[str, torch.Tensor] | None = None
    metric: MetricName | None = None

    @property
    def exponents(self) -> dict[str, int]:
        """Grid of every residual value: its float is an integer times `2 ** -exponent`."""
        return grid_exponents(self.graph, self.stats)

    def with_importance(self, method: Method, group: Group | None = None) -> "CalibratedGraph":
        """The same with the row importance that a method asks for; itself where that was measured before.

        Args:
            method: which techniques are used.
            group: processes that share the images; None: this one alone.
        """
        if self.importance is not None:
            return self
        batches, importance = torch.split(self.images, _BATCH), {}
        if method.row_importance:
            importance = row_importance(self.graph, batches, metric=self.metric, group=group)
        trim()
        return replace(self, importance=importance)

    def of_graph(self, graph: Graph) -> "CalibratedGraph":
        """The same with another graph of the same function and the same layers."""
        return replace(self, graph=graph)

    def of_images(self, indices: Sequence[int]) -> "CalibratedGraph":
        """The same with some of the images, in this order, and the importance of their rows."""
        importance = self.importance and {
            name: rows.reshape(len(self.images), -1)[indices].reshape(-1) for name, rows in self.importance.items()
        }
        return replace(self, images=self.images[indices], importance=importance)
