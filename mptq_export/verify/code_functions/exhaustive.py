"""Certified tables in the installed onnxruntime: all codes of every function of a file, against `kernels_ref`.

A comparison on images reaches the codes that those images reach. Here each function of the file (Exp, Gelu, a sigmoid
with its product, ...) is cut out, from the codes or distances that it reads to its QuantizeLinear nodes, and run on
everything that can occur: in one piece, backwards, and a few at a time, because kernels compute the body of a vector
and its end differently.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kernels_ref import Interpreter, InterpreterError
from mptq_export.runtime.session import RUNTIME_ERRORS, error_line
from mptq_export.support.errors import MptqError
from mptq_export.verify.code_functions.functions import TRANSCENDENTAL
from mptq_export.verify.graph import GraphReader

#: Element-wise ops of which functions are made; a product or sum alone is no function.
_FUNCTIONS = frozenset({*TRANSCENDENTAL, "Clip"})
_ARITHMETIC = frozenset({"Add", "Div", "Mul"})

#: Fewer values than any vector holds.
_SHORT = 3

_ERRORS_ONLY = 3

Codes = NDArray[np.generic]


@dataclass
class _Table:
    """One function: what it reads, everything that this can be, and the nodes up to its codes."""

    source: str
    values: Codes
    nodes: dict[str, onnx.NodeProto] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)

    @property
    def input(self) -> str:
        """Its input in a model of tables alone."""
        return f"{self.source}.all"


@dataclass(frozen=True)
class TableCheck:
    """What running every table that is known gave.

    Attributes:
        arguments: how many arguments there are in all of them.
        problem: the first code that the installed onnxruntime gives wrongly, a sentence; empty where there is none.
    """

    arguments: int
    problem: str = ""


def check_tables(model: onnx.ModelProto) -> int:
    """Run every certified table of a file in onnxruntime and compare its codes with those of `kernels_ref`.

    Args:
        model: as emitted; a tensor of it that no table needs is not touched.

    Returns:
        How many arguments there are in all tables.

    Raises:
        MptqError: a code differs, or it is not known what a function can read; it names the layer.
    """
    tables = list(_Cutter(model).tables())
    covered = {name for table in tables for name in table.nodes}
    for node in model.graph.node:
        if node.op_type in TRANSCENDENTAL and node.output[0] not in covered:
            raise MptqError(f"{node.name}: not all that {node.op_type} can read is known here; please report the model")
    try:
        found = _run(model, tables)
    except _REFUSALS as error:
        raise MptqError(
            f"the functions of the file cannot be run: {error_line(error)}; please report the model"
        ) from error
    if found.problem:
        raise MptqError(found.problem)
    return found.arguments


def run_tables(model: onnx.ModelProto) -> TableCheck:
    """As `check_tables`, for a file that was written before: a function whose arguments are not known is left out.

    Raises:
        MptqError: onnxruntime or `kernels_ref` cannot run the functions alone.
    """
    try:
        return _run(model, list(_Cutter(model).tables()))
    except _REFUSALS as error:
        raise MptqError(
            f"the functions of the file cannot be run alone: {error_line(error)}; report the file"
        ) from error


_REFUSALS: tuple[type[Exception], ...] = (InterpreterError, *RUNTIME_ERRORS)


def _run(model: onnx.ModelProto, tables: list[_Table]) -> TableCheck:
    """Compare both on everything."""
    arguments = sum(len(table.values) for table in tables)
    if not tables:
        return TableCheck(0)
    part = _model_of(model, tables)
    expected = Interpreter(part).run({table.input: table.values for table in tables})
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    session = ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [name for table in tables for name in table.codes]
    for chosen in _choices(tables):
        feed = {table.input: table.values[index] for table, index in zip(tables, chosen, strict=True)}
        found = dict(zip(names, session.run(names, feed), strict=True))
        for table, index in zip(tables, chosen, strict=True):
            for name in table.codes:
                problem = _problem(table, name, index, found[name], expected[name])
                if problem:
                    return TableCheck(arguments, problem)
    return TableCheck(arguments)


def _choices(tables: list[_Table]) -> Iterator[list[NDArray[np.intp]]]:
    """For every run: which values of each table it computes, in order."""
    sizes = [len(table.values) for table in tables]
    yield [np.arange(size) for size in sizes]
    yield [np.arange(size)[::-1] for size in sizes]
    for start in range(0, max(sizes), _SHORT):
        yield [(start + np.arange(_SHORT)) % size for size in sizes]


def _problem(table: _Table, name: str, index: NDArray[np.intp], found: Codes, expected: Codes) -> str:
    """The first code that differs, a sentence; '' where none does."""
    wrong = np.flatnonzero(found != expected[index])
    if not wrong.size:
        return ""
    first = wrong[0]
    function = next(node for node in table.nodes.values() if node.op_type in _FUNCTIONS)
    argument, right = table.values[index][first], expected[index][first]
    return (
        f"{function.name}: {function.op_type} of the installed onnxruntime {ort.__version__} gives code {found[first]} "
        f"where every runtime must give {right} (argument {argument}, {name}); it is less accurate than exports "
        "assume: install another version of onnxruntime, and please report this one"
    )


class _Cutter:
    """Finds the functions of a model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = GraphReader(model)

    def tables(self) -> Iterator[_Table]:
        """All functions between what varies and the QuantizeLinear nodes that read them."""
        found: dict[str, _Table] = {}
        for node in self._graph.nodes:
            if node.op_type != "QuantizeLinear" or not self._is_plain(node):
                continue
            nodes = self._cone(node.input[0])
            sources = {name for n in nodes.values() for name in n.input if name and name not in self._graph.constants}
            sources -= nodes.keys()
            if len(sources) != 1 or not any(n.op_type in _FUNCTIONS for n in nodes.values()):
                continue
            (source,) = sources
            values = self._values(source, node)
            if values is None:
                continue
            table = found.setdefault(source, _Table(source, values))
            if len(values) > len(table.values):
                table.values = values  # distances for a finer step
            table.nodes |= nodes | {node.output[0]: node}
            table.codes.append(node.output[0])
        yield from found.values()

    def _is_plain(self, node: onnx.NodeProto) -> bool:
        """Whether codes have one constant scale and one constant zero point."""
        return len(node.input) == 3 and all(self._graph.scalar(name) is not None for name in node.input[1:])

    def _cone(self, name: str) -> dict[str, onnx.NodeProto]:
        """The element-wise nodes behind a tensor and the DequantizeLinear they start from, by their outputs."""
        node = self._graph.producers.get(name)
        if node is None or node.op_type not in _FUNCTIONS | _ARITHMETIC | {"DequantizeLinear"}:
            return {}
        found: dict[str, onnx.NodeProto] = {}
        for other in node.input:
            if other and other not in self._graph.constants and node.op_type != "DequantizeLinear":
                found |= self._cone(other)
        return found | {name: node}

    def _values(self, source: str, reader: onnx.NodeProto) -> Codes | None:
        """Everything that the source of a table can be: all 8-bit codes, or all distances to a row's maximum."""
        producer = self._graph.producers.get(source)
        if producer is not None and producer.op_type == "Sub":
            return self._distances(producer, self._scalar(reader.input[1]))
        for node in self._graph.readers(source):
            if node.op_type == "DequantizeLinear" and node.input[0] == source and self._is_plain(node):
                kind = numpy_helper.to_array(self._graph.constants[node.input[2]]).dtype
                limits = np.iinfo(kind)
                return np.arange(limits.min, limits.max + 1).astype(kind)
        return None

    def _distances(self, difference: onnx.NodeProto, step: float) -> Codes | None:
        """All that `x - max(x)` can be where x is codes, moved and with constants added, until Exp gives code 0."""
        span, name = 255.0, difference.input[0]
        while (node := self._graph.producers.get(name)) is not None and node.op_type != "DequantizeLinear":
            constants = [value for n in node.input if (value := self._graph.constant(n)) is not None]
            live = [n for n in node.input if n and n not in self._graph.constants]
            if node.op_type == "Add" and constants:
                span += float(np.ptp(constants[0])) / self._scale_behind(live[0])
            name = live[0]
        if node is None:
            return None
        scale = self._scalar(node.input[1])
        silent = -math.log(step / 8) / scale
        count = math.ceil(min(span, max(silent, 0.0))) + 1
        return (-np.arange(count, dtype=np.float32)) * np.float32(scale)

    def _scale_behind(self, name: str) -> float:
        """The scale of the codes that a tensor on a score path was made of."""
        node = self._graph.producers[name]
        while node.op_type != "DequantizeLinear":
            node = self._graph.producers[next(n for n in node.input if n not in self._graph.constants)]
        return self._scalar(node.input[1])

    def _scalar(self, name: str) -> float:
        return float(numpy_helper.to_array(self._graph.constants[name]))


def _model_of(model: onnx.ModelProto, tables: list[_Table]) -> onnx.ModelProto:
    """The tables alone, as one model: an input for each source, an output for each tensor of codes."""
    nodes = [_reading(node, table) for table in tables for node in table.nodes.values()]
    used = {name for node in nodes for name in node.input}
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    inputs = [(table.input, helper.np_dtype_to_tensor_dtype(table.values.dtype)) for table in tables]
    outputs = [(name, kinds[table.nodes[name].input[2]]) for table in tables for name in table.codes]
    graph = helper.make_graph(
        nodes,
        "tables",
        [helper.make_tensor_value_info(name, kind, [None]) for name, kind in inputs],
        [helper.make_tensor_value_info(name, kind, [None]) for name, kind in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def _reading(node: onnx.NodeProto, table: _Table) -> onnx.NodeProto:
    """A node of a table that reads the table's own input: its source may be what another table makes."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [table.input if name == table.source else name for name in node.input]
    return copy
