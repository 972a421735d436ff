"""Which certified tables are certified by the file itself: every result that there can be is clear of every boundary.

`mptq_export.verify.certified` finds the float results of transcendentals that become codes at once, and holds what a
run gives to a margin. That no result of *another* input comes closer to a rounding boundary than this margin, or than a
runtime's function may be wrong, is proved at export for files of this package. Here it is proved for any file: all
results are computed from all codes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kernels_ref import InterpreterError
from mptq_export.quantize.certification.assumption import largest_error
from mptq_export.quantize.certification.boundaries import MARGIN, boundary_distances
from mptq_export.verify.certified import function_name

#: The values here are rounded to float32: a part of them, and so many steps of 256.
_ROUNDING, _ROUNDED_STEPS = 2.0**-24, 2.0**-16


class ValueSource(Protocol):
    """What knows the values that a tensor can have: `kernels_ref.Interpreter`."""

    def every_value(self, name: str) -> NDArray[Any] | None:
        """All values of a tensor; None where they are not known."""


def uncertain_tables(model: onnx.ModelProto, source: ValueSource, tables: Collection[str]) -> dict[str, str]:
    """The tables that are not certified, and why.

    Args:
        model: the file.
        source: knows the values of its tensors.
        tables: names of transcendentals' results that QuantizeLinear nodes read, or of Sigmoid's that a product takes
            to QuantizeLinear nodes.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    producers = {name: node for node in model.graph.node for name in node.output}
    search = _Search(readers, {tensor.name: tensor for tensor in model.graph.initializer}, source)
    return {name: reason for name in tables if (reason := search.uncertain(producers[name]))}


@dataclass(frozen=True)
class _Search:
    readers: Mapping[str, list[onnx.NodeProto]]
    constants: Mapping[str, onnx.TensorProto]
    source: ValueSource

    def uncertain(self, node: onnx.NodeProto) -> str:
        """Why the results of a node are not certified; '' where they are."""
        name, argument = node.output[0], node.input[0]
        reading = self.readers.get(name, [])
        if len(reading) == 1 and reading[0].op_type == "Mul":  # SiLU: the codes are those of the product
            name, argument = reading[0].output[0], next(x for x in reading[0].input if x != name)
            reading = self.readers.get(name, [])
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
        if any(name and name not in self.constants for name in node.input[1:]):
            return -np.inf
        scale, *zeros = (numpy_helper.to_array(self.constants[name]) for name in node.input[1:] if name)
        zero = zeros[0] if zeros else np.zeros(1, np.uint8)
        if zero.dtype.kind not in "iu" or (not zeros and any(item.name == "output_dtype" for item in node.attribute)):
            return -np.inf
        limits = np.iinfo(zero.dtype)
        low, high = int(limits.min), int(limits.max)
        following = self.readers.get(node.output[0], [])
        if len(following) == 1 and following[0].op_type == "Clip":
            low, high = _clipped(following[0], low, high, self.constants)
        smallest = np.inf
        for s, z in np.broadcast(scale.ravel().astype(np.float64), zero.ravel().astype(np.int64)):
            if low < high:
                wanted = np.maximum(error / s, MARGIN - _ROUNDED_STEPS)
                apart = boundary_distances(values / s, low - int(z), high - int(z))
                smallest = min(smallest, float((apart - wanted).min(initial=np.inf)))
        return smallest


def _clipped(clip: onnx.NodeProto, low: int, high: int, constants: Mapping[str, onnx.TensorProto]) -> tuple[int, int]:
    """The codes that a Clip leaves: no other boundary matters."""
    ends = []
    for name, default in zip([*clip.input[1:], "", ""], (low, high), strict=False):
        ends.append(int(numpy_helper.to_array(constants[name]).ravel()[0]) if name in constants else default)
    return max(low, ends[0]), min(high, ends[1])
