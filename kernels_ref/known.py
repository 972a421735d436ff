"""What is known of a graph's tensors before it runs."""

from typing import Any

import numpy as np
from onnx import helper

from kernels_ref.constants import Constants
from kernels_ref.model import Graph
from kernels_ref.ops.kinds import MOVEMENT

_EIGHT_BITS = (np.dtype(np.uint8), np.dtype(np.int8))
_CAST_TO = {int(helper.np_dtype_to_tensor_dtype(dtype)): dtype for dtype in _EIGHT_BITS}
_MOVEMENT = MOVEMENT | {"Identity"}
#: The output has the type of the first input.
_SAME_TYPE = _MOVEMENT | {"Clip", "Concat", "Max", "Min", "Pad"}


def eight_bit_tensors(graph: Graph, constants: Constants) -> dict[str, np.dtype[Any]]:
    """The tensors that are known to hold 8-bit codes and are not constant, with their types."""
    types = {name: spec.dtype for name, spec in graph.inputs.items() if spec.dtype in _EIGHT_BITS}
    for node in graph.nodes:
        dtype = None
        if node.op == "QuantizeLinear":
            zero = node.inputs[2] if len(node.inputs) > 2 else ""
            if zero in constants:
                dtype = constants[zero].dtype
            elif not zero and not node.attributes.get("output_dtype", 0):
                dtype = np.dtype(np.uint8)
        elif node.op == "Cast":
            dtype = _CAST_TO.get(node.attributes.get("to", 0))
        elif node.op in _SAME_TYPE and node.inputs:
            dtype = types.get(node.inputs[0])
        if dtype in _EIGHT_BITS:
            types |= {name: dtype for name in node.outputs if name and name not in constants}
    return types


def whole_tensors(graph: Graph) -> set[str]:
    """The tensors of float type that are known to hold whole numbers only, or values that are not finite."""
    whole: set[str] = set()
    for node in graph.nodes:
        if node.op in ("Round", "Floor") or (node.op in _MOVEMENT and node.inputs and node.inputs[0] in whole):
            whole.update(filter(None, node.outputs))
    return whole
