"""The last codes of an output: by how many steps of them it differs from the file as it is written."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.support.json_files import Json
from mptq_export.verify.graph import GraphReader

#: Ops that hand values on.
_MOVES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Gather"}

_COUNTED = 3
"""Distances up to this are counted each, those beyond it together."""


@dataclass(frozen=True)
class CodesOff:
    """Codes of one output that differ, over all inputs.

    Attributes:
        step: of the codes, in units of the output.
        values: how many codes there are.
        off_by: how many are off by 0, 1, 2, 3 steps, and by more.
        mean: steps on average.
        most: the most steps.
    """

    step: float
    values: int
    off_by: tuple[int, ...]
    mean: float
    most: int

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values."""
        named = [*map(str, range(_COUNTED + 1)), "more"]
        off_by = dict(zip(named, self.off_by, strict=True))
        return {"step": self.step, "values": self.values, "off_by": off_by, "mean": self.mean, "most": self.most}


def step_of(model: onnx.ModelProto, output: str) -> float | None:
    """The step of the codes that an output is made of; None where no DequantizeLinear of one scale makes it."""
    graph, name = GraphReader(model), output
    while (node := graph.producers.get(name)) is not None and node.op_type in _MOVES:
        name = node.input[0]
    if node is None or node.op_type != "DequantizeLinear":
        return None
    return graph.scalar(node.input[1])


def codes_off(step: float, reference: NDArray[Any], found: NDArray[Any]) -> CodesOff:
    """Count the steps between two outputs.

    Args:
        step: of the codes.
        reference: (inputs, ...) values, multiples of `step`.
        found: of the same shape; what is no number is as far off as can be.
    """
    apart = np.rint(np.abs(found.astype(np.float64) - reference) / step)
    steps = np.nan_to_num(apart, nan=2**31, posinf=2**31).clip(0, 2**31).astype(np.int64)
    counted = Counter(np.minimum(steps, _COUNTED + 1).ravel().tolist())
    off_by = tuple(counted[number] for number in range(_COUNTED + 2))
    return CodesOff(step, steps.size, off_by, float(steps.mean()) if steps.size else 0.0, int(steps.max(initial=0)))
