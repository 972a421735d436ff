"""Which certified tables are certified by the file itself: every result that there can be is clear of every boundary.

`mptq_export.verify.certified` finds the float results of transcendentals that become codes at once, and holds what a
run gives to a margin. That no result of *another* input comes closer to a rounding boundary than this margin is proved
at export for files of this package. Here it is proved for any file: all results are computed from all codes.
"""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kernels_ref import InterpreterError
from mptq_export.quantize.certify import MARGIN

#: The values here are rounded to float32, which moves a value of 256 steps by so many.
_ROUNDING = 2.0**-16
#: A runtime's function is good to this part of its result: more than the margin where there are thousands of codes.
_FUNCTION = 2.0**-21


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
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return {name: reason for name in tables if (reason := _uncertain(name, readers, constants, source))}


def _uncertain(
    name: str,
    readers: Mapping[str, list[onnx.NodeProto]],
    constants: Mapping[str, onnx.TensorProto],
    source: ValueSource,
) -> str:
    reading = readers.get(name, [])
    if len(reading) == 1 and reading[0].op_type == "Mul":  # SiLU: the codes are those of the product
        name = reading[0].output[0]
        reading = readers.get(name, [])
    if not reading or any(node.op_type != "QuantizeLinear" for node in reading):
        return "not only QuantizeLinear nodes read it"
    try:
        values = source.every_value(name)
    except InterpreterError as error:
        return f"its values cannot be computed: {error}"
    if values is None:
        return "more than codes of 8 or 16 bits decide its values, so that not all can be tried"
    closest = min((_margin(values, node, readers, constants) for node in reading), default=0.0)
    if closest >= MARGIN - _ROUNDING:
        return ""
    return f"a result lies {closest:.1e} of a step from a rounding boundary, and a runtime may be on the other side"


def _margin(
    values: NDArray[Any],
    node: onnx.NodeProto,
    readers: Mapping[str, list[onnx.NodeProto]],
    constants: Mapping[str, onnx.TensorProto],
) -> float:
    """What a runtime's function may be off by, in steps of a QuantizeLinear; 0 where its scale is not constant."""
    if any(name and name not in constants for name in node.input[1:]):
        return 0.0
    scale, *zeros = (numpy_helper.to_array(constants[name]) for name in node.input[1:] if name)
    zero = zeros[0] if zeros else np.zeros(1, np.uint8)
    if zero.dtype.kind not in "iu" or (not zeros and any(item.name == "output_dtype" for item in node.attribute)):
        return 0.0
    limits = np.iinfo(zero.dtype)
    low, high = int(limits.min), int(limits.max)
    following = readers.get(node.output[0], [])
    if len(following) == 1 and following[0].op_type == "Clip":
        low, high = _clipped(following[0], low, high, constants)
    if low >= high:
        return np.inf
    pairs = np.broadcast(scale.ravel().astype(np.float64), zero.ravel().astype(np.int64))
    finite = values[np.isfinite(values)].astype(np.float64)  # what is infinite has the first or the last code
    return min((_clearance(finite / s, low - int(z), high - int(z)) for s, z in pairs), default=0.0)


def _clearance(steps: NDArray[np.float64], low: int, high: int) -> float:
    """Smallest distance to a rounding boundary, less what the error of a runtime's function is above the margin."""
    boundary = np.clip(np.floor(steps) + 0.5, low + 0.5, high - 0.5)
    error = np.maximum(np.abs(steps) * _FUNCTION - MARGIN, 0)
    return float((np.abs(steps - boundary) - error).min(initial=np.inf))


def _clipped(clip: onnx.NodeProto, low: int, high: int, constants: Mapping[str, onnx.TensorProto]) -> tuple[int, int]:
    """The codes that a Clip leaves: no other boundary matters."""
    ends = []
    for name, default in zip([*clip.input[1:], "", ""], (low, high), strict=False):
        ends.append(int(numpy_helper.to_array(constants[name]).ravel()[0]) if name in constants else default)
    return max(low, ends[0]), min(high, ends[1])
