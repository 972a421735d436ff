"""Which certified tables are certified by the file itself: every result that there can be is clear of every boundary.

`certified` finds the float results of transcendentals that become codes at once, and holds what a run gives to a
margin. That no result of *another* input comes closer to a rounding boundary than this margin, or than a runtime's
function may be wrong, is proved at export for files of this package. Here it is proved for any file: all results are
computed from all codes.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from kernels_ref import InterpreterError
from mptq_export.quantize.certification.assumption import largest_error
from mptq_export.quantize.certification.boundaries import MARGIN, boundary_distances
from mptq_export.verify.code_functions.functions import function_name
from mptq_export.verify.graph import GraphReader
from mptq_export.verify.reference import ValueSource

#: The values here are rounded to float32: a part of them, and so many steps of 256.
_ROUNDING, _ROUNDED_STEPS = 2.0**-24, 2.0**-16


def uncertain_tables(model: onnx.ModelProto, source: ValueSource, tables: Collection[str]) -> dict[str, str]:
    """The tables that are not certified, and why.

    Args:
        model: the file.
        source: knows the values of its tensors.
        tables: names of transcendentals' results that QuantizeLinear nodes read, or of Sigmoid's that a product takes
            to QuantizeLinear nodes.
    """
    graph = GraphReader(model)
    search = _Search(graph, source)
    return {name: reason for name in tables if (reason := search.uncertain(graph.producers[name]))}


@dataclass(frozen=True)
class _Search:
    graph: GraphReader
    source: ValueSource

    def uncertain(self, node: onnx.NodeProto) -> str:
        """Why the results of a node are not certified; '' where they are."""
        name, argument = node.output[0], node.input[0]
        reading = self.graph.readers(name)
        if len(reading) == 1 and reading[0].op_type == "Mul":  # SiLU: the codes are those of the product
            name, argument = reading[0].output[0], next(x for x in reading[0].input if x != name)
            reading = self.graph.readers(name)
        if not reading or any(reader.op_type != "QuantizeLinear" for reader in reading):
            return "not only QuantizeLinear nodes read it"
        try:
            values, arguments = self.source.every_value(name), self.source.every_value(argument)
        except InterpreterError as refused:
            return f"its values cannot be computed: {refused}"
        if values is None or arguments is None or values.shape != arguments.shape:
            return "more than codes of 8 or 16 bits decide its values, so that not all can be tried"
        finite = np.isfinite(values)  # what is infinite has the first or the last code
        wide, exact = values[finite].astype(np.float64), arguments[finite].astype(np.float64)
        error = largest_error(function_name(node), exact, wide) - _ROUNDING * np.abs(wide)
        closest = min((self._clearance(wide, error, reader) for reader in reading), default=0.0)
        if closest >= 0:
            return ""
        return "a result is so near to a rounding boundary that a runtime may be on the other side"

    def _clearance(self, values: NDArray[np.float64], error: NDArray[np.float64], node: onnx.NodeProto) -> float:
        """Smallest distance of values to a boundary of a QuantizeLinear, less what is asked for; in its steps."""
        named = [name for name in node.input[1:] if name]
        known = [found for name in named if (found := self.graph.constant(name)) is not None]
        if len(known) < len(named):
            return -np.inf
        scale, *zeros = known
        zero = zeros[0] if zeros else np.zeros(1, np.uint8)
        if zero.dtype.kind not in "iu" or (not zeros and any(item.name == "output_dtype" for item in node.attribute)):
            return -np.inf
        limits = np.iinfo(zero.dtype)
        low, high = int(limits.min), int(limits.max)
        following = self.graph.readers(node.output[0])
        if len(following) == 1 and following[0].op_type == "Clip":
            low, high = self._clipped(following[0], low, high)
        smallest = np.inf
        for s, z in np.broadcast(scale.ravel().astype(np.float64), zero.ravel().astype(np.int64)):
            if low < high:
                wanted = np.maximum(error / s, MARGIN - _ROUNDED_STEPS)
                apart = boundary_distances(values / s, low - int(z), high - int(z))
                smallest = min(smallest, float((apart - wanted).min(initial=np.inf)))
        return smallest

    def _clipped(self, clip: onnx.NodeProto, low: int, high: int) -> tuple[int, int]:
        """The codes that a Clip leaves: no other boundary matters."""
        ends = []
        for name, default in zip([*clip.input[1:], "", ""], (low, high), strict=False):
            end = self.graph.constant(name)
            ends.append(default if end is None else int(end.ravel()[0]))
        return max(low, ends[0]), min(high, ends[1])
