"""Constants that are added to attention scores (relative position bias, window masks), in score codes."""

import math

import numpy as np
from numpy.typing import NDArray

from mptq_export.capture.graph import Graph, Node


def bias_codes(value: NDArray[np.float32], scale: float, levels: int) -> NDArray[np.float32]:
    """Round a constant to whole score steps; what is far below zero is clamped where Exp gives code 0 anyway.

    Args:
        value: any shape, in score units.
        scale: score scale.
        levels: largest attention code.

    Returns:
        Integers as float32, same shape.
    """
    silent = math.ceil(math.log(levels * 4) / scale)  # exp(-silent * scale) * levels <= 1/4
    return np.maximum(np.rint(value.astype(np.float64) / scale), -(255.0 + silent)).astype(np.float32)


def bias_span(graph: Graph, steps: list[Node], scale: float, levels: int) -> int:
    """How many codes the constants on a score path can add to the distance to a row's maximum."""
    span = 0
    for step in steps:
        for name in step.inputs if step.op == "add" else ():
            if graph[name].op == "constant":
                codes = bias_codes(graph[name].params["value"].numpy(), scale, levels)
                span += int(codes.max() - codes.min())
    return span
