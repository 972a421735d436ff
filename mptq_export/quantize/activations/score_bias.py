"""Constants that are added to attention scores (relative position bias, window masks), in score codes.

Their rows have maximum 0 (`transform/center_scores.py`), so that what is left of them is a distance to the row's
maximum, like that of the scores themselves.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Constant
from mptq_export.capture.score_path import score_path

Codes = NDArray[np.float32]


@dataclass(frozen=True)
class ScoreConstants:
    """What lies between the scores of one softmax and the softmax itself.

    Attributes:
        shape: sizes of the scores of one image.
        steps: constant additions and movement, in order.
        values: the constant of every addition, float64, by the addition's name.
    """

    shape: tuple[int, ...]
    steps: tuple[Node, ...]
    values: dict[str, NDArray[np.float64]]

    @staticmethod
    def of(graph: Graph, softmax: Node) -> "ScoreConstants":
        """Those of a softmax."""
        scores, steps = score_path(graph, softmax)
        values = {step.name: _constant(graph, step) for step in steps if isinstance(step.op, Add)}
        return ScoreConstants(scores.shape.at(1), tuple(steps), values)

    def codes(self, scale: float, levels: int) -> dict[str, Codes]:
        """Every constant in whole score steps; what is far below its row's maximum is clamped.

        A clamped element gets attention code 0 whatever the scores are: it is further below the best element of its
        row, all constants added up, than 255 codes and the distance at which Exp gives code 0.

        Args:
            scale: score scale.
            levels: largest attention code.

        Returns:
            Whole numbers as float32, in the shapes of the constants, by the names of the additions.
        """
        rounded = {name: np.rint(value / scale) for name, value in self.values.items()}
        silent = math.ceil(math.log(levels * 4) / scale)  # exp(-silent * scale) * levels <= 1/4
        lowest = -(255.0 + silent + self._depth(rounded))
        return {name: np.maximum(codes, lowest).astype(np.float32) for name, codes in rounded.items()}

    def _depth(self, rounded: dict[str, NDArray[np.float64]]) -> float:
        """How far below 0 the largest element of a row can be when all constants are added up, in codes."""
        if not rounded:
            return 0.0
        total = torch.zeros(self.shape, dtype=torch.float64)
        for step in self.steps:
            total = total + torch.from_numpy(rounded[step.name]) if isinstance(step.op, Add) else compute(step, [total])
        best = total.amax(-1)
        return max(0.0, -float(best[best.isfinite()].min())) if best.isfinite().any() else 0.0


def largest_distance(constants: Iterable[Codes]) -> int:
    """The largest distance of a score to its row's maximum, in codes: what codes can differ by, and constants add."""
    return 255 + sum(int(max(codes.max(), 0) - min(codes.min(), 0)) for codes in constants)


def _constant(graph: Graph, step: Node) -> NDArray[np.float64]:
    node = next(graph[name] for name in step.inputs if isinstance(graph[name].op, Constant))
    return node.params["value"].double().cpu().numpy()
