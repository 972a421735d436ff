"""All values that a tensor can have, where codes of 8 or 16 bits are all that it depends on.

What is computed element by element from one tensor of codes is tabulated code by code: `x` and `sigmoid(x)` in a
product belong to the same code. What comes from two tensors is tabulated for all pairs, or, if one is the maximum of
the other, for those in which it is not the lesser. Differences of evenly spaced values are few, and are found without
listing the pairs. So there may be more values here than can occur, never fewer; 0.0 and -0.0 count as one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from kernels_ref.constants import Constants
from kernels_ref.model import Graph, Node
from kernels_ref.ops.kinds import ELEMENT_WISE, MOVEMENT
from kernels_ref.ops.types import Array

Evaluate = Callable[[Node, list[Array | None]], tuple[Array, ...]]

#: Element by element, of inputs that broadcast.
_ELEMENT_WISE = ELEMENT_WISE | {"Clip"}
_CODES = tuple(np.dtype(dtype) for dtype in (np.uint8, np.int8, np.uint16, np.int16))
_CAST_TO = {int(helper.np_dtype_to_tensor_dtype(dtype)): dtype for dtype in _CODES}
_FEW_PAIRS = 2**16
_MOST_PAIRS = 2**22


@dataclass(frozen=True)
class _Table:
    """`values`, one for each value of the tensor `root`; a root of '' is a single constant."""

    root: str
    values: Array


class EveryValue:
    """The values of a graph's tensors.

    Args:
        graph: the graph.
        constants: its constants.
        evaluate: computes one node.
    """

    def __init__(self, graph: Graph, constants: Constants, evaluate: Evaluate) -> None:
        self._inputs, self._constants, self._evaluate = graph.inputs, constants, evaluate
        self._producers = {name: node for node in graph.nodes for name in node.outputs if name}
        self._order = {name: place for place, node in enumerate(graph.nodes) for name in node.outputs}
        self._tables: dict[str, _Table | None] = {}

    def of(self, name: str) -> Array | None:
        """All values of a tensor, in no order; None where they are not known or too many.

        Raises:
            InterpreterError: an op refuses one of the values of its input.
        """
        pending = [name]
        while pending:  # not by recursion: a graph may be deep
            wanted = pending[-1]
            sources = [source for source in self._sources(wanted) if source not in self._tables]
            if wanted in self._tables or not sources:
                pending.pop()
                if wanted not in self._tables:
                    self._tables[wanted] = self._table(wanted)
            else:
                pending += sources
        table = self._tables[name]
        return None if table is None else table.values

    def _sources(self, name: str) -> list[str]:
        node = self._producers.get(name)
        if node is None or name in self._constants or self._code_type(name) is not None:
            return []
        if node.op in _ELEMENT_WISE:
            return [source for source in node.inputs if source]
        return list(node.inputs[:1]) if node.op in MOVEMENT or node.op == "DequantizeLinear" else []

    def _code_type(self, name: str) -> np.dtype[Any] | None:
        """The type of a tensor of codes of which nothing else is known."""
        node, dtype = self._producers.get(name), None
        if node is None:
            dtype = self._inputs[name].dtype if name in self._inputs else None
        elif node.op == "QuantizeLinear":
            zero = node.inputs[2] if len(node.inputs) > 2 else ""
            if zero in self._constants:
                dtype = self._constants[zero].dtype
            elif not zero:
                dtype = _CAST_TO.get(node.attributes.get("output_dtype", 0) or TensorProto.UINT8)
        return dtype if dtype in _CODES else None

    def _table(self, name: str) -> _Table | None:
        if name in self._constants:
            values = np.unique(self._constants[name])
            return _Table("" if values.size == 1 else name, values)
        dtype = self._code_type(name)
        if dtype is not None:
            return _Table(name, np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype))
        tables = [self._tables[source] for source in self._sources(name)]
        known = [table for table in tables if table is not None]
        if not known or len(known) < len(tables):
            return None
        node = self._producers[name]
        if node.op in MOVEMENT:
            return _Table(name, np.unique(known[0].values))
        if node.op == "DequantizeLinear":
            return self._dequantized(node, known[0])
        return self._element_wise(node, name, known)

    def _dequantized(self, node: Node, codes: _Table) -> _Table | None:
        """One scale: code by code. Several: every code on every one of them."""
        if any(source and source not in self._constants for source in node.inputs[1:]):
            return None
        scale, *zero = (self._constants[source].ravel() for source in node.inputs[1:] if source)
        if scale.size == 1:
            parameters = [scale, *(z[:1] for z in zero)]
            return _Table(codes.root, self._run(node, [codes.values, *parameters]))
        if scale.size * codes.values.size > _MOST_PAIRS or any(z.size not in (1, scale.size) for z in zero):
            return None
        pairs = [[scale[i : i + 1], *(z[i : i + 1] if z.size > 1 else z for z in zero)] for i in range(scale.size)]
        return _Table(node.outputs[0], np.unique([self._run(node, [codes.values, *pair]) for pair in pairs]))

    def _element_wise(self, node: Node, name: str, tables: list[_Table]) -> _Table | None:
        roots = sorted({table.root for table in tables} - {""}, key=lambda root: self._order.get(root, -1))
        if len(roots) <= 1:
            root = roots[0] if roots else ""
            arrays = [table.values if table.root else table.values.reshape(()) for table in tables]
            return _Table(root, self._with_omitted(node, arrays))
        if len(roots) > 2:
            return None
        of_root = [next(table.values for table in tables if table.root == root) for root in roots]
        pairs = of_root[0].size * of_root[1].size
        under = self._under(*roots)
        if pairs > _FEW_PAIRS and node.op == "Sub" and len(tables) == 2:
            differences = _differences(*(table.values for table in tables))
            if differences is not None:
                never_above = under and node.inputs == (under, roots[1])
                return _Table(name, differences[differences <= 0] if never_above else differences)
        if pairs > _MOST_PAIRS:
            return None
        arrays = [
            table.values.reshape(() if not table.root else (-1, 1) if table.root == roots[0] else (1, -1))
            for table in tables
        ]
        results = self._with_omitted(node, arrays)
        if under:
            lesser, greater = self._tables[under], self._tables[roots[1]]
            assert lesser is not None and greater is not None
            results = results[lesser.values[:, None] <= greater.values]
        return _Table(name, np.unique(results))

    def _under(self, first: str, second: str) -> str:
        """The tensor, a function of the first, of which the second is the maximum: never above it. Else ''.

        The maximum may be written out in the shape of the tensor: an Expand repeats it where broadcasting would.
        """
        node = self._producers.get(second)
        if node is not None and node.op == "Expand":
            node = self._producers.get(node.inputs[0])
        kept = node is not None and node.op == "ReduceMax" and node.attributes.get("keepdims", 1)
        source = node.inputs[0] if node is not None and kept else ""
        table = self._tables.get(source)
        return source if table is not None and table.root == first else ""

    def _with_omitted(self, node: Node, arrays: list[Array]) -> Array:
        left = iter(arrays)
        return self._run(node, [next(left) if source else None for source in node.inputs])

    def _run(self, node: Node, inputs: list[Array | None]) -> Array:
        return self._evaluate(node, inputs)[0]


def _differences(a: Array, b: Array) -> Array | None:
    """All `x - y` of evenly spaced values: whole numbers of one gap, as long as float32 holds these exactly."""
    if a.dtype != np.float32 or not np.isfinite(a).all() or not np.isfinite(b).all():
        return None
    both = np.unique([*a.tolist(), *b.tolist()])
    gap = np.diff(both).min(initial=np.inf)
    places = (both - both[0]) / gap
    if not np.isfinite(gap) or places[-1] > _MOST_PAIRS or (places != np.rint(places)).any():
        return None
    multiples = np.arange(-places[-1], places[-1] + 1) * gap
    narrow = multiples.astype(np.float32)
    return narrow if (narrow == multiples).all() else None
