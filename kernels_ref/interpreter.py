"""Runs a graph: compiled once to a list of steps, in file order."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from kernels_ref.bound import op_of
from kernels_ref.claims import note, noted, noted_code_op
from kernels_ref.code_ops import find_code_ops
from kernels_ref.constants import Constants
from kernels_ref.convolution import find_convolutions
from kernels_ref.duplicates import merge
from kernels_ref.errors import InterpreterError
from kernels_ref.fused_steps import Factor, centred_name, convolution_step, factors_of, product_step
from kernels_ref.fusion import find_fusions
from kernels_ref.kernels import Kernel, Kernels
from kernels_ref.known import eight_bit_tensors, whole_tensors
from kernels_ref.limits import check_result
from kernels_ref.lookup import Lookup, find_lookups
from kernels_ref.model import Node, TensorSpec, read_graph
from kernels_ref.ops.table import CONTRIB_OPS, OPS
from kernels_ref.ops.types import Array
from kernels_ref.propagation import is_added, propagate
from kernels_ref.readers import Readers
from kernels_ref.signed import Signed
from kernels_ref.steps import REFUSALS, Step, Values, last_uses, needed, perform, refusal
from kernels_ref.sums import LastAxisSum, find_sums
from kernels_ref.values import EveryValue

_MOVES = ("Reshape", "Split", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class _Tracing:
    """What a traced run does, for the tensors that were asked for; None for all."""

    asked: frozenset[str] | None
    steps: list[Step]
    constants: dict[str, Array]
    expiring: list[tuple[str, ...]]
    results: tuple[str, ...]


class Interpreter:
    """A quantized ONNX model in NumPy.

    Args:
        source: the file, or the model in memory.

    Raises:
        InterpreterError: the model cannot be read or run; see `kernels_ref.model.read_graph`.
    """

    def __init__(self, source: str | Path | onnx.ModelProto) -> None:
        try:
            self._read(source)
        except InterpreterError:
            raise
        except REFUSALS as error:
            reason = " ".join(str(error).split())
            raise InterpreterError(f"the graph does not make sense ({type(error).__name__}: {reason})") from error

    def _read(self, source: str | Path | onnx.ModelProto) -> None:
        graph = read_graph(source, OPS.keys(), CONTRIB_OPS)
        self._unclaimed: dict[str, str] = {}
        self._constants = Constants(graph, self._evaluate_constant)
        with np.errstate(all="ignore"):
            graph, merged = merge(graph, self._constants)
            self._graph, moved = propagate(graph, self._constants)
            self._shadows = (*merged, *moved)
            readers = Readers(self._graph, self._constants)
            signed = Signed(readers)
            self._fusions = find_fusions(self._graph, readers, signed)
            self._convolutions = find_convolutions(self._graph, readers, signed)
            self._code_ops = find_code_ops(self._graph, readers, signed)
            self._kernels = Kernels(self._fusions, self._convolutions, self._code_ops, readers, signed)
            self._producers = {name: node for node in self._graph.nodes for name in node.outputs if name}
            self._codes = eight_bit_tensors(self._graph, self._constants)
            whole = whole_tensors(self._graph)
            self._shortcuts: dict[str, Lookup | LastAxisSum] = {
                **find_lookups(self._graph, self._constants, self._codes, self._code_ops, _evaluate),
                **find_sums(self._graph, self._constants, self._codes, whole),
            }
            self._steps = needed(self._compile(trace=False), self._graph.outputs)
            self._used = {
                name: self._constants[name]
                for name in [*(name for step in self._steps for name in step.inputs), *self._graph.outputs]
                if name and name in self._constants
            }
        self._expiring = last_uses(self._steps, keep={*self._used, *self._graph.outputs})
        self._traced: _Tracing | None = None

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """What the graph runs as: fused kernels and single ops, in graph order.

        Every op of the file is here or a part of a kernel. Tensors whose name holds a zero byte are none of the file:
        codes that are moved where the file moves floats.
        """
        return tuple(self._kernels.of(self._graph.nodes))

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """The tensors that other runtimes may compute with other bits, with the reason; from all traced runs so far.

        An op claims equal bits for the values at hand (`kernels_ref.ops.claims`). A tensor is here if what makes it did
        not, in one run or more; what depends on it is not.
        """
        return self._unclaimed

    def every_value(self, name: str) -> Array | None:
        """All values that a tensor can have, where codes of 8 or 16 bits are all that it depends on; else None.

        Raises:
            InterpreterError: an op refuses one of the values of its input.
        """
        with np.errstate(all="ignore"):
            return EveryValue(self._graph, self._constants, _evaluate).of(name)

    def run(
        self,
        feeds: Mapping[str, Array],
        *,
        trace: bool | Collection[str] = False,
        observe: Callable[[str, Array], None] | None = None,
    ) -> dict[str, Array]:
        """Compute the graph.

        Args:
            feeds: one array for each graph input.
            trace: return every tensor that a node makes, not only the outputs; or those of these names, and the
                outputs. A tensor inside a fused product has the value that it would have outside of it.
            observe: called with every traced tensor as soon as it is made, constants first; the outputs alone are
                returned, and the rest is dropped once nothing needs it.

        Raises:
            InterpreterError: the feeds do not fit the graph's inputs, or an op refuses its inputs.
        """
        _check_feeds(feeds, self._graph.inputs)
        with np.errstate(all="ignore"):
            if trace is not False:
                return self._trace(feeds, None if trace is True else trace, observe)
            values: Values = {"": None, **self._used} | {name: np.asarray(feed) for name, feed in feeds.items()}
            perform(self._steps, values, self._expiring)
        return _present(values, self._graph.outputs)

    def _trace(
        self,
        feeds: Mapping[str, Array],
        names: Collection[str] | None,
        observe: Callable[[str, Array], None] | None,
    ) -> dict[str, Array]:
        asked = None if names is None else frozenset(names)
        if self._traced is None or self._traced.asked != asked:
            self._traced = self._tracing(asked)
        tracing = self._traced
        values: Values = {"": None, **tracing.constants} | {name: np.asarray(feed) for name, feed in feeds.items()}
        if observe is None:
            perform(tracing.steps, values, tracing.expiring)
            return _present(values, tracing.results)
        for name in tracing.results:
            if name in tracing.constants:
                observe(name, tracing.constants[name])
        wanted = set(tracing.results)
        kept = {*tracing.constants, *self._graph.inputs, *self._graph.outputs}
        perform(
            tracing.steps,
            values,
            last_uses(tracing.steps, keep=kept),
            lambda name, value: observe(name, value) if name in wanted else None,
        )
        return _present(values, self._graph.outputs)

    def _tracing(self, asked: frozenset[str] | None) -> "_Tracing":
        nodes = (*self._graph.nodes, *self._shadows)
        made = [name for node in nodes for name in node.outputs if name and not is_added(name)]
        wanted = {*(made if asked is None else asked), *self._graph.outputs}
        steps = needed(self._compile(trace=True), [*wanted])
        read = {name for name in (*wanted, *(name for step in steps for name in step.inputs)) if name}
        constants = {name: self._constants[name] for name in read if name in self._constants}
        expiring = last_uses(steps, keep={*constants, *self._graph.inputs, *wanted})
        results = tuple(name for name in (*made, *self._graph.outputs) if name in wanted)
        return _Tracing(asked, steps, constants, expiring, results)

    def _compile(self, *, trace: bool) -> list[Step]:
        """The steps of all that is not constant, in file order."""
        steps: list[Step] = []
        prepared: dict[str, str] = {}
        inside = {fusion.codes_node.outputs[0] for fusion in self._fusions.values() if fusion.codes_node}
        inside |= {fusion.codes_node.outputs[0] for fusion in self._convolutions.values()}
        absorbed = {op.node.outputs[0] for op in self._code_ops.values()}
        for node in (*self._graph.nodes, *(self._shadows if trace else ())):
            if not any(node.outputs) or node.outputs[0] in inside or _first(node.outputs) in self._constants:
                continue
            fusion, shortcut = self._fusions.get(node.outputs[0]), self._shortcuts.get(node.outputs[0])
            if shortcut is not None and not trace:
                steps.append(Step(node.label, shortcut.inputs, node.outputs, shortcut))
                continue
            code_op = self._code_ops.get(node.outputs[0])
            if code_op is not None:
                compute = noted_code_op(code_op, self._unclaimed) if trace else code_op
                steps.append(Step(code_op.node.label, code_op.names, node.outputs, compute))
                continue
            convolution = self._convolutions.get(node.outputs[0])
            if convolution is not None:
                steps.append(convolution_step(convolution, trace=trace))
                continue
            if fusion is None:
                compute, inputs = op_of(node, self._constants)
                if trace and node.outputs[0] not in absorbed:
                    compute = noted(node, compute, self._constants, self._unclaimed)
                steps.append(Step(node.label, inputs, node.outputs, compute))
                if (
                    node.op == "Cast"
                    and node.attributes.get("to") == onnx.TensorProto.FLOAT
                    and inputs[0] in self._codes
                ):
                    prepared[centred_name(inputs[0], 0)] = node.outputs[0]  # the same numbers
                continue
            factors = list(factors_of(fusion))
            for factor in factors:
                if fusion.weight is None and not trace:
                    self._centre_before_moving(node.label, factor, steps, prepared)
                elif factor.name not in prepared:
                    prepared[factor.name] = factor.name
                    steps.append(factor.step(node.label))
            steps.append(product_step(fusion, tuple(prepared[factor.name] for factor in factors), trace=trace))
        return steps

    def _centre_before_moving(self, label: str, factor: Factor, steps: list[Step], prepared: dict[str, str]) -> None:
        """Steps that make what a product takes of codes; of codes that were only moved, by moving floats instead.

        Element by element it is the same. Queries, keys and values that are cut from one tensor become floats at once,
        where they still lie in one piece; the steps that move the codes fall away where nothing else needs them.
        """
        codes, name, prepare = factor
        if name in prepared:
            return
        prepared[name] = name
        node = self._producers.get(codes)
        if node is None or node.op not in _MOVES or not all(other in self._constants for other in node.inputs[1:]):
            steps.append(factor.step(label))
            return
        suffix = name.removeprefix(codes)
        source = node.inputs[0] + suffix
        self._centre_before_moving(label, Factor(node.inputs[0], source, prepare), steps, prepared)
        compute, inputs = op_of(node, self._constants)
        outputs = tuple(output + suffix for output in node.outputs)
        steps.append(Step(node.label, (prepared[source], *inputs[1:]), outputs, compute))
        prepared.update((output, output) for output in outputs)

    def _evaluate_constant(self, node: Node, inputs: list[Array | None]) -> tuple[Array, ...]:
        outputs = _evaluate(node, inputs)
        note(node, inputs, outputs, self._unclaimed)
        return outputs


def _evaluate(node: Node, inputs: list[Array | None]) -> tuple[Array, ...]:
    try:
        check_result(node.op, inputs, node.attributes)
        return OPS[node.op](inputs, node.attributes)
    except REFUSALS as error:
        raise refusal(node.label, error) from error


def _present(values: Values, names: Iterable[str]) -> dict[str, Array]:
    return {name: value for name in names if (value := values[name]) is not None}


def _first(names: Iterable[str]) -> str:
    return next(filter(None, names), "")


def _check_feeds(feeds: Mapping[str, Array], specs: Mapping[str, TensorSpec]) -> None:
    expected = ", ".join(specs) or "none"
    for name in specs:
        if name not in feeds:
            raise InterpreterError(f"no feed for graph input {name}; expected are {expected}")
    for name, feed in feeds.items():
        if name not in specs:
            raise InterpreterError(f"{name} is not a graph input; expected are {expected}")
        spec, array = specs[name], np.asarray(feed)
        if array.dtype != spec.dtype:
            raise InterpreterError(f"feed {name} is {array.dtype}; the graph input is {spec.dtype}")
        if spec.shape is None:
            continue
        fits = len(spec.shape) == array.ndim and all(
            size in (None, got) for size, got in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            wanted = " x ".join("?" if size is None else str(size) for size in spec.shape)
            raise InterpreterError(f"feed {name} has shape {array.shape}; the graph input is {wanted}")
