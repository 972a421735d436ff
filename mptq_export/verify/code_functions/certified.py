"""Certified tables: transcendentals whose float results may differ in the last bits, but never in their code.

Exp, Gelu and Sigmoid are not correctly rounded anywhere, so their float results are no part of the promise. A file
keeps them between a code and a QuantizeLinear, with scales chosen so that every possible result is at least `MARGIN` of
a step away from a rounding boundary, and further than a runtime is assumed to be wrong. So two things are checked: the
runtime's float differs from the reference's by less than the larger of the two, and the codes behind it are equal bit
by bit, like those of any other tensor. A sigmoid may be multiplied by its own argument on the way (SiLU): then the
margin is that of the product.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.quantize.certification.assumption import assumed
from mptq_export.quantize.certification.boundaries import MARGIN
from mptq_export.verify.code_functions.functions import TRANSCENDENTAL, function_name
from mptq_export.verify.difference import Difference
from mptq_export.verify.graph import GraphReader


def certified_tables(model: onnx.ModelProto) -> dict[str, float]:
    """Step of every transcendental's result that only QuantizeLinear nodes read; the finest where there are several.

    Where `MARGIN` of that step is less than what a runtime may be wrong by at the largest argument, the step for which
    it is as much: the results are certified for that.

    Any other float result of a transcendental is not in the answer, and is compared bit by bit.
    """
    graph = _Scales(GraphReader(model))
    steps: dict[str, float] = {}
    for node in model.graph.node:
        if node.op_type not in TRANSCENDENTAL or not node.output:
            continue
        name = node.output[0]
        least = assumed(function_name(node)).of_argument * graph.largest(node.input[0]) / MARGIN
        step = graph.step(name)
        if step is not None:
            steps[name] = max(step, least)
        elif node.op_type == "Sigmoid" and (product := graph.product_with_codes(name)) is not None:
            result, largest = product
            step = graph.step(result)
            if step is not None:
                steps[result], steps[name] = max(step, least), max(step, least) / largest
    return steps


class _Scales:
    """What the scales beside a tensor say of it."""

    def __init__(self, graph: GraphReader) -> None:
        self._graph = graph

    def step(self, name: str) -> float | None:
        """The finest step of the QuantizeLinear nodes that read a tensor; None where anything else does."""
        reading = self._graph.readers(name)
        if name in self._graph.outputs or not reading:
            return None
        if not all(r.op_type == "QuantizeLinear" and r.input[0] == name for r in reading):
            return None
        scales = [self._scale(r) for r in reading]
        return None if None in scales else min(scale for scale in scales if scale is not None)

    def product_with_codes(self, name: str) -> tuple[str, float] | None:
        """The one product that reads a tensor, and the largest size of its other factor: dequantized 8-bit codes."""
        reading = self._graph.readers(name)
        if name in self._graph.outputs or len(reading) != 1 or reading[0].op_type != "Mul":
            return None
        other = next((n for n in reading[0].input if n != name), "")
        producer = self._graph.producers.get(other)
        if producer is None or producer.op_type != "DequantizeLinear":
            return None
        scale = self._scale(producer)
        return None if scale is None else (reading[0].output[0], 255 * scale)

    def largest(self, name: str) -> float:
        """The largest size of dequantized 8-bit codes, or of their product with a constant; 0 where it is neither."""
        producer = self._graph.producers.get(name)
        if producer is not None and producer.op_type == "DequantizeLinear":
            return 255 * (self._scale(producer) or 0.0)
        if producer is not None and producer.op_type == "Mul":
            for factor, other in (producer.input, reversed(producer.input)):
                if (values := self._graph.constant(factor)) is not None:
                    return self.largest(other) * float(np.abs(values).max())
        return 0.0

    def _scale(self, node: onnx.NodeProto) -> float | None:
        values = self._graph.constant(node.input[1])
        return None if values is None else float(values.min())


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
