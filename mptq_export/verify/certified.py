"""Certified tables: transcendentals whose float results may differ in the last bits, but never in their code.

Exp and Gelu are not correctly rounded anywhere, so their float results are no part of the promise. A file keeps them
between a code and a QuantizeLinear, with scales chosen so that every possible result is at least `MARGIN` of a step
away from a rounding boundary. So two things are checked: the runtime's float differs from the reference's by less
than that margin, and the codes behind it are equal bit by bit, like those of any other tensor.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from mptq_export.quantize.certify import MARGIN
from mptq_export.verify.difference import Difference

_TRANSCENDENTAL = frozenset({"Erf", "Exp", "Gelu", "Sigmoid", "Tanh"})


def certified_tables(model: onnx.ModelProto) -> dict[str, float]:
    """Step of every transcendental's result that only QuantizeLinear nodes read; the finest where there are several.

    Any other float result of a transcendental is not in the answer, and is compared bit by bit.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {entry.name for entry in model.graph.output}
    steps: dict[str, float] = {}
    for node in model.graph.node:
        name = node.output[0] if node.output else ""
        reading = readers.get(name, [])
        if node.op_type not in _TRANSCENDENTAL or name in outputs or not reading:
            continue
        if all(r.op_type == "QuantizeLinear" and r.input[0] == name and r.input[1] in constants for r in reading):
            steps[name] = min(float(numpy_helper.to_array(constants[r.input[1]]).min()) for r in reading)
    return steps


def table_difference(got: NDArray[np.float32], expected: NDArray[np.float32], step: float) -> Difference:
    """Count results that leave the margin; `largest` is the largest deviation in steps."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        size = max(got.size, expected.size, 1)
        return Difference(size, size, 0, np.inf, "another shape or type")
    deviation = np.abs(got.astype(np.float64) - expected.astype(np.float64)) / step
    outside = ~(deviation < MARGIN)
    largest = float(np.nan_to_num(deviation, nan=np.inf).max(initial=0.0))
    return Difference(
        got.size, int(np.count_nonzero(outside)), 0, largest, "outside the margin" if outside.any() else ""
    )
