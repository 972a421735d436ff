"""int8 codes that a runtime holds as uint8, 128 higher.

x86-64 has no kernels for int8 activations, so a runtime moves codes up where it can: those that a QuantizeLinear makes
for one DequantizeLinear alone, if both name the zero point. Products of codes without zero points are the same; sums
that start from a zero point are not. What stays int8 is multiplied in floats, except beside a Gemm.
"""

from typing import Any

import numpy as np

from kernels_ref.model import Node
from kernels_ref.propagation import MOVES
from kernels_ref.readers import Readers


class Signed:
    """The type in which a runtime holds 8-bit codes.

    Args:
        readers: the edges and constants of a graph in which codes have been propagated.
    """

    def __init__(self, readers: Readers) -> None:
        self._raised: set[str] = set()
        for node in readers.producers.values():  # in the order of the graph
            name = node.outputs[0]
            if name in readers.constants:
                continue
            moved = node.op in MOVES and (node.inputs[0] in self._raised)
            if (node.op == "QuantizeLinear" and _names_int8(node, readers)) or moved:
                reader = readers.sole_reader(name)
                if reader is not None and (reader.op in MOVES or _is_alone(reader, readers)):
                    self._raised.add(name)

    def raised(self, codes: str) -> bool:
        """Whether a tensor of int8 codes is held as uint8."""
        return codes in self._raised

    def held(self, codes: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The type in which codes are held that the file has as `dtype`."""
        return np.dtype(np.uint8) if self.raised(codes) else dtype


def _is_alone(node: Node, readers: Readers) -> bool:
    """Whether a node is a DequantizeLinear of int8 codes that one tensor at most comes of."""
    return node.op == "DequantizeLinear" and readers.edges(node.outputs[0]) <= 1 and _names_int8(node, readers)


def _names_int8(node: Node, readers: Readers) -> bool:
    """Whether a QuantizeLinear or DequantizeLinear writes an int8 zero point out."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return False
    found = readers.one_scale(node)
    return found is not None and found[1].dtype == np.int8
