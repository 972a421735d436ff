"""Between which numbers every tensor of a file lies, whatever the input: intervals through the graph, node by node.

What is known of the input is its type. Codes lie between the ends of their type or of the Clip behind them, a product
with constant weights between its sums of worst cases, a norm's unit between -1 and 1, a softmax's distance below 0. So
the intervals follow from the file alone, and hold for every input that the preconditions allow; `inf` where only an
infinite input gets there. They are computed in float64 and made wider by more than float32 rounds.
"""

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from mptq_export.dossier.interval import EVERYTHING, Interval, of_type, of_values
from mptq_export.dossier.range_rules import RULES, Known, Size
from mptq_export.verify.graph import GraphReader

Ranges = dict[str, Interval]
"""Intervals by the names of tensors."""


def ranges(
    model: onnx.ModelProto, constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[Size, ...]]
) -> Ranges:
    """The interval of every tensor by name.

    Args:
        model: the file.
        constants: of `verify.constants.constant_tensors`.
        shapes: of the other tensors; a name or None stands for a size that is not fixed.
    """
    found = {name: of_values(values) for name, values in constants.items()}
    for entry in model.graph.input:
        found.setdefault(entry.name, of_type(entry.type.tensor_type.elem_type))
    known = Known(GraphReader(model), constants, shapes, found)
    for node in model.graph.node:
        if any(name not in found for name in node.output if name):
            rule = RULES.get(node.op_type)
            interval = EVERYTHING if rule is None else rule(known, node)
            found |= {name: interval for name in node.output if name}
    return found
