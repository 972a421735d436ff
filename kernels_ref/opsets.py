"""Nodes of older opsets, in the form of today's.

What once was an attribute became an input: it becomes a constant here. Softmax once worked on a matrix.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array

Keep = Callable[[str, Array], None]

#: Older ones broadcast, or round, by other rules.
OLDEST_OPSET = 7
#: Ops whose form is older than that.
_OLDER = {"Not": 1}
_FLOAT_MAX = float(np.finfo(np.float32).max)


def in_todays_form(
    op: str, inputs: list[str], attributes: dict[str, Any], *, opset: int, output: str, keep: Keep
) -> tuple[list[str], dict[str, Any]]:
    """The inputs and attributes of a node as the newest opset would write them.

    Args:
        op: the node's op.
        inputs: its inputs.
        attributes: its attributes.
        opset: the opset that its model names.
        output: name of its first output.
        keep: takes the name and the value of a new constant.

    Raises:
        InterpreterError: the op is older than what this package knows of it.
    """
    if opset < _OLDER.get(op, OLDEST_OPSET):
        raise InterpreterError(f"opset {opset} is too old; export with opset {OLDEST_OPSET} or newer")
    if op == "Softmax" and opset < 13:
        return inputs, {"axis": 1, **attributes, "of_matrix": True}
    moved = [form for form in _MOVED.get(op, ()) if opset < form[0]]
    if not moved or len(inputs) > 1:
        return inputs, attributes
    for _, attribute, dtype, default in moved:
        value = attributes.get(attribute, default)
        # No ONNX tensor of the graph can have this name: the separator is no text.
        inputs = [*inputs, "" if value is None else f"{output}\0{attribute}"]
        if value is not None:
            keep(inputs[-1], np.asarray(value, dtype))
    names = [attribute for _, attribute, _, _ in moved]
    return inputs, {name: value for name, value in attributes.items() if name not in names}


#: For each op its inputs after the first, in order: up to which opset they were attributes, and of what default.
_MOVED: dict[str, tuple[tuple[int, str, type[np.generic], Any], ...]] = {
    "Clip": ((11, "min", np.float32, -_FLOAT_MAX), (11, "max", np.float32, _FLOAT_MAX)),
    "Pad": ((11, "pads", np.int64, None), (11, "value", np.float32, 0.0)),
    "ReduceSum": ((13, "axes", np.int64, None),),
    "Slice": ((10, "starts", np.int64, None), (10, "ends", np.int64, None), (10, "axes", np.int64, None)),
    "Split": ((13, "split", np.int64, None),),
    "Squeeze": ((13, "axes", np.int64, None),),
    "Unsqueeze": ((13, "axes", np.int64, None),),
}
