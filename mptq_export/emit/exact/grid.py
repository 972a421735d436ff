"""The grid of a residual stream: rounding to it, and how far its sums may reach."""

from dataclasses import replace

import numpy as np

from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.exact.proof import FLOAT32_INTEGER, FLOAT64_INTEGER, Proof, Quantity
from mptq_export.emit.exact.values import Floats

#: Most grid steps that a residual keeps where its worst case has to be cut, and the fewest: the calibrated range.
CLIP, LEAST_CLIP = float(2**20), float(2**15)

#: By how much rounding to float32 can enlarge a square.
SQUARE_ROUNDING = 1 + 2.0**-23

#: What to do where a residual may grow too far.
FAR_ABOVE = "its worst case is far above the calibrated range; check the checkpoint for extreme weights"


def sum_of_squares(width: int, bound: float) -> float:
    """The largest sum of squares of a row of whole numbers, and of what its variance is made of."""
    return width * (bound + 1) ** 2 * SQUARE_ROUNDING


def has_exact_squares(width: int, bound: float) -> bool:
    """Whether that sum is exact in float64."""
    return sum_of_squares(width, bound) <= FLOAT64_INTEGER


def snap(onnx: OnnxBuilder, proof: Proof, x: Floats, name: str, width: int) -> Floats:
    """Round to the grid (half to even); the result is an exact float32 integer.

    Where the worst case of all layers so far is too large for float32, or for an exact sum of squares, the residual is
    clipped to `CLIP` steps: 32 times the calibrated range, which no image is meant to reach. A group norm may leave
    room for less.

    Args:
        onnx: the graph under construction.
        proof: gets the bound.
        x: a residual in grid steps.
        name: of the value.
        width: elements of a row of it, whose squares a norm adds up.
    """
    tensor = onnx.one("Round", [x.tensor], f"{name}.grid")
    bound = float(np.floor(x.bound + 1))
    if bound > FLOAT32_INTEGER or not has_exact_squares(width, bound):
        bound = CLIP
        while bound > LEAST_CLIP and not has_exact_squares(width, bound):
            bound /= 2
        limits = [onnx.scalar(limit) for limit in (-bound, bound)]
        tensor = onnx.one("Clip", [tensor, *limits], f"{name}.clipped")
    proof.claim(name, Quantity.RESIDUAL, bound, FLOAT32_INTEGER, advice=FAR_ABOVE)
    return replace(x, tensor=tensor, bound=bound, integer=True)
