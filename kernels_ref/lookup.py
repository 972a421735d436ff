"""Element-wise functions of codes, looked up instead of computed.

    codes -> DequantizeLinear -> Gelu -> QuantizeLinear                 table[code]
    codes, peak = ReduceMax(codes) -> ... Sub -> Exp -> QuantizeLinear  table[peak - code], also behind Expand(peak)

An element's result depends on its code alone, so the graph's own ops, run once on all 256 codes, give every result that
there can be. The second form is taken only where all pairs with code <= peak, tried one by one, give what their
distance gives: so it is where scale times code is exact. Only results that are 8-bit codes themselves are looked up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels_ref.code_ops import CodeOp
from kernels_ref.constants import Constants
from kernels_ref.errors import InterpreterError
from kernels_ref.model import Graph, Node
from kernels_ref.ops.kinds import ELEMENT_WISE
from kernels_ref.ops.types import Array

#: Element by element of the first input; the others are parameters: of one element, whatever their axes. Constants
#: among the inputs of other ops must have no axis, so that they add none.
_WITH_PARAMETERS = frozenset({"Clip", "DequantizeLinear", "QuantizeLinear"})
Evaluate = Callable[[Node, list[Array | None]], tuple[Array, ...]]


@dataclass(frozen=True)
class Lookup:
    """`table[codes]`, or `table[peak - codes]` where the codes' maximum takes part.

    Args:
        codes: name of the 8-bit tensor.
        peak: name of its ReduceMax, or of an Expand of that; or ''.
        table: 256 bytes, the results by the bits of the code or by the distance.
        dtype: the type of the results.
    """

    codes: str
    peak: str
    table: bytes
    dtype: np.dtype[Any]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that `__call__` takes."""
        return (self.codes, self.peak) if self.peak else (self.codes,)

    def __call__(self, codes: Array, peak: Array | None = None) -> tuple[Array, ...]:
        """The results, in the shape of the codes; read only."""
        # The distance is at most 255, and so right as the 8 bits of a difference that may wrap around.
        index = codes if peak is None else np.subtract(peak, codes)
        # A byte each: bytes.translate takes half the time of numpy.take, which widens its indices to 64 bits.
        return (np.frombuffer(index.tobytes().translate(self.table), self.dtype).reshape(index.shape),)


def find_lookups(
    graph: Graph,
    constants: Constants,
    types: dict[str, np.dtype[Any]],
    code_ops: Mapping[str, CodeOp],
    evaluate: Evaluate,
) -> dict[str, Lookup]:
    """Every 8-bit tensor that two nodes or more compute, element by element, from one other 8-bit tensor.

    Args:
        graph: the graph.
        constants: its constants.
        types: the tensors that hold 8-bit codes.
        code_ops: those of them that an op on codes makes.
        evaluate: computes one node.
    """
    search = _Search(graph, constants, types, code_ops)
    lookups = {}
    for node in graph.nodes:
        function, output = search.function(node), node.outputs[0]
        if function is not None and output in types and len(function.nodes) > 1:
            lookup = search.tabulated(function, evaluate)
            if lookup is not None:
                lookups[output] = lookup
    return lookups


@dataclass(frozen=True)
class _Function:
    """What makes a tensor from `codes`, or from `codes` and their `peak`: nodes in their order."""

    codes: str
    peak: str
    nodes: tuple[Node, ...]


class _Search:
    """The functions of a graph, found node by node in its order."""

    def __init__(
        self,
        graph: Graph,
        constants: Constants,
        types: Mapping[str, np.dtype[Any]],
        code_ops: Mapping[str, CodeOp],
    ) -> None:
        self._constants, self._types, self._code_ops = constants, types, code_ops
        self._peaks = {
            node.outputs[0]: node.inputs[0]
            for node in graph.nodes
            if node.op == "ReduceMax" and node.attributes.get("keepdims", 1) and node.inputs[0] in types
        }
        self._peaks |= {
            node.outputs[0]: self._peaks[node.inputs[0]]
            for node in graph.nodes
            if node.op == "Expand" and node.inputs[0] in self._peaks and node.outputs[0] in types
        }
        # What a maximum is taken of is not followed further back.
        self._roots = {*self._peaks, *self._peaks.values()}
        self._functions: dict[str, _Function] = {}

    def function(self, node: Node) -> _Function | None:
        """What makes the tensor of a node; None where more than one tensor of codes decides it."""
        found = self._function(node)
        if found is not None:
            self._functions[node.outputs[0]] = found
        return found

    def _function(self, node: Node) -> _Function | None:
        constants, code_op = self._constants, self._code_ops.get(node.outputs[0])
        if node.op not in ELEMENT_WISE | _WITH_PARAMETERS or len(node.outputs) != 1 or node.outputs[0] in constants:
            return None
        if code_op is not None and not code_op.element_wise:
            return None
        sources: set[str] = set()
        nodes: dict[str, Node] = {}
        for index, name in enumerate(node.inputs if code_op is None else code_op.names):
            if not name:
                continue
            if name in constants:
                value = constants[name]
                parameter = node.op in _WITH_PARAMETERS and index > 0
                if value.size != 1 or (value.ndim and not parameter):
                    return None
            elif name in self._functions and name not in self._roots:
                made = self._functions[name]
                sources |= {made.codes, made.peak}
                nodes |= {each.outputs[0]: each for each in made.nodes}
            elif name in self._types:
                sources.add(name)
            else:
                return None
        sources.discard("")
        peak = next((name for name in sources if self._peaks.get(name) in sources), "")
        if len(sources) != (2 if peak else 1):
            return None
        (codes,) = sources - {peak}
        return _Function(codes, peak, (*nodes.values(), node))

    def tabulated(self, function: _Function, evaluate: Evaluate) -> Lookup | None:
        """The table of a function; None where the ops refuse a code, or where more than the distance decides."""
        every = np.arange(256, dtype=np.uint8).view(self._types[function.codes])
        values: dict[str, Array] = {function.codes: every[None, :]}
        if function.peak:
            values[function.peak] = every[:, None]
        for node in function.nodes:
            code_op = self._code_ops.get(node.outputs[0])
            if code_op is not None:
                result = code_op.of_any_shape(*(values[name] for name in code_op.names))
                if result is None:
                    return None
                values[node.outputs[0]] = result
                continue
            inputs = [
                values[name] if name in values else self._constants[name] if name else None for name in node.inputs
            ]
            try:
                (values[node.outputs[0]],) = evaluate(node, inputs)
            except InterpreterError:
                return None
        results = values[function.nodes[-1].outputs[0]]
        if results.dtype != self._types[function.nodes[-1].outputs[0]]:
            return None
        if function.peak:
            ascending = np.argsort(every)
            pairs = np.broadcast_to(results, (256, 256))[ascending][:, ascending]
            table = pairs[-1, ::-1]  # the greatest peak has every distance
            distance = np.arange(256)[:, None] - np.arange(256)
            if not np.array_equal(np.where(distance >= 0, pairs, 0), np.where(distance >= 0, table[distance], 0)):
                return None
        else:
            table = results[0]
        return Lookup(function.codes, function.peak, table.tobytes(), results.dtype)
