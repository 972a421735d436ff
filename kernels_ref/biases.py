"""The bias of a fused product: int32 codes.

DequantizeLinear(int32 codes)         the codes as they are, whatever their scale says
    (M, N), every row the same        a row of them
float32                               rint(bias / (scale_a * scale_w)), where a runtime quantizes it by itself
MatMul -> Add                         the Add's constant, where a runtime makes a Gemm of the two
"""

import numpy as np

from kernels_ref.constants import Constants
from kernels_ref.errors import InterpreterError
from kernels_ref.model import Graph
from kernels_ref.ops.types import Array
from kernels_ref.readers import Readers


def bias_codes(name: str, readers: Readers) -> Array | None:
    """The int32 codes behind a bias's DequantizeLinear, (N,)."""
    node, constants = readers.producers.get(name), readers.constants
    if node is None or node.op != "DequantizeLinear" or node.inputs[0] not in constants:
        return None
    codes = constants[node.inputs[0]]
    return codes if codes.dtype == np.int32 and codes.ndim == 1 else None


def bias_rows(name: str, readers: Readers) -> tuple[str, Array] | None:
    """The int32 codes behind a bias's DequantizeLinear with a row for each row of the result, all the same.

    Returns:
        The name of the codes (M, N), and one row of them, (N,).
    """
    node, constants = readers.producers.get(name), readers.constants
    if node is None or node.op != "DequantizeLinear" or node.inputs[0] not in constants:
        return None
    codes = constants[node.inputs[0]]
    if codes.dtype != np.int32 or codes.ndim != 2 or not len(codes) or (codes != codes[0]).any():
        return None
    return node.inputs[0], np.asarray(codes[0])


def quantized_bias(name: str, scale: Array, constants: Constants) -> Array | None:
    """The int32 codes of a constant float32 bias (N,); None where it is none.

    Args:
        name: name of the bias.
        scale: of the accumulator, one or one for each output channel.
        constants: the constants of the graph.

    Raises:
        InterpreterError: a code does not fit into int32.
    """
    if name not in constants:
        return None
    bias = constants[name]
    if bias.dtype != np.float32 or bias.ndim != 1 or (scale.size > 1 and scale.shape != bias.shape):
        return None
    codes = np.rint(bias / scale)
    if not (np.abs(codes) < 2.0**31).all():
        raise InterpreterError(f"the bias {name} does not fit into int32 at the accumulator's scale")
    return np.asarray(codes.astype(np.int32))


def find_biases(graph: Graph, readers: Readers) -> dict[str, str]:
    """Every Add that a runtime merges with the MatMul before it: what the Add makes, and what the MatMul makes."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op != "MatMul" or node.outputs[0] in readers.constants:
            continue
        add = readers.sole_reader(node.outputs[0])
        if add is None or add.op != "Add" or len(set(add.inputs)) != 2:
            continue
        bias = next(name for name in add.inputs if name != node.outputs[0])
        columns = _columns(node.inputs[1], readers)
        if columns and _fits(graph, node.inputs[0], columns, bias):
            found[add.outputs[0]] = node.outputs[0]
    return found


def _columns(name: str, readers: Readers) -> int:
    """Number of columns of a constant matrix, of which codes may be the origin; 0 where it is none."""
    transposed = False
    node = readers.producers.get(name)
    while node is not None and node.op in ("DequantizeLinear", "Transpose"):
        transposed ^= node.op == "Transpose"
        name = node.inputs[0]
        node = readers.producers.get(name)
    constants = readers.constants
    if name not in constants or constants[name].ndim != 2:
        return 0
    return int(constants[name].shape[0 if transposed else 1])


def _fits(graph: Graph, a: str, columns: int, bias: str) -> bool:
    """Whether the shapes are those of a Gemm, or can be made so before the model runs."""
    rows, added = graph.shape(a), graph.shape(bias)
    if rows is None or added is None or (len(rows) != 2 and not all(isinstance(size, int) for size in rows)):
        return False
    if len(added) == 1:
        return added[0] == columns
    if len(rows) != 2 or len(added) != 2:
        return False
    return (added[0] == 1 and added[1] == columns) or (
        added[0] is not None and added[0] == rows[0] and added[1] in (1, columns)
    )
