"""Every tensor of a file: onnxruntime against `kernels_ref`."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Protocol

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kernels_ref import Interpreter, InterpreterError, Kernel
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import is_readable, one_line
from mptq_export.support.errors import MptqError
from mptq_export.verify.agreement import Plan, refuse_undefined
from mptq_export.verify.batches import BatchCheck
from mptq_export.verify.certified import certified_tables, table_difference
from mptq_export.verify.clearance import ValueSource, uncertain_tables
from mptq_export.verify.difference import Difference, difference
from mptq_export.verify.kernel_plan import kernel_plan
from mptq_export.verify.onnx_file import load_onnx
from mptq_export.verify.origin import check_contents
from mptq_export.verify.report import TensorReport, VerifyReport
from mptq_export.verify.runtime_graph import open_runtime_graph
from mptq_export.verify.saturation import may_saturate


class Reference(ValueSource, Protocol):
    """What the runtime is compared with: `kernels_ref.Interpreter`, or a stand-in."""

    @property
    def kernels(self) -> Sequence[Kernel]:
        """What the file runs as there."""

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """Tensors of the runs so far that come without a claim of equal bits, with the reason."""

    def run(self, feeds: dict[str, NDArray[Any]], *, trace: Collection[str]) -> dict[str, NDArray[Any]]:
        """The graph's outputs and the tensors of these names."""


def verify_model(
    path: Path,
    inputs: Iterable[NDArray[Any]],
    *,
    threads: int = 0,
    reference: Reference | None = None,
    most_bytes: float = inf,
) -> VerifyReport:
    """Run onnxruntime and the reference on the same inputs and compare every tensor.

    One batch is held in memory at a time, with all its tensors, twice: keep the batches small. Where the file leaves
    the batch free, the outputs of each batch are also compared with those of its inputs alone.

    Args:
        path: the ONNX file.
        inputs: batches in the type and shape of the graph's one input.
        threads: onnxruntime's threads within an operator; 0 is its own choice.
        reference: what to compare with; `kernels_ref` on the same file when left out.
        most_bytes: of batches whose tensors take more, the tensors of each input alone are compared.

    Raises:
        MptqError: the file is not ONNX, one of the two cannot run it, or there are no inputs.
    """
    original = load_onnx(path)
    if reference is None:  # first: it refuses more than onnxruntime does, loops and huge results among it
        try:
            reference = Interpreter(original)
        except InterpreterError as error:
            raise MptqError(f"kernels_ref cannot run {path}: {one_line(error)}") from error
    producers, tables, origin = _producers(original), certified_tables(original), check_contents(original)
    uncertain, live = uncertain_tables(original, reference, tables), _live(original)
    own_plan = Plan(original, reference.kernels)
    del original  # weights of a large model need its memory
    runtime = open_runtime_graph(path, threads=threads)
    refuse_undefined(runtime.model, path)
    spec, plan = graph_input(runtime.default), kernel_plan(runtime)
    folded = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in runtime.model.graph.initializer
        if tensor.name in producers
    }
    disagreements = own_plan.disagreements(runtime.model)
    disagreements += may_saturate(runtime.model, runtime.dtypes, reference)
    made = {name for node in runtime.model.graph.node for name in node.output if name}
    runtime = replace(runtime, model=onnx.ModelProto())  # likewise
    readable = set(runtime.readable)
    outputs = [entry.name for entry in runtime.default.get_outputs()]
    for entry in runtime.default.get_outputs():
        if not is_readable(entry.type):
            raise MptqError(f"output {entry.name} of {path} is {entry.type}, whose values are not compared; remove it")

    tensors = {name: Difference() for name in producers if name in readable or name in folded}
    instrumented = dict.fromkeys(outputs, Difference())
    default = dict.fromkeys(outputs, Difference())
    batches = BatchCheck(runtime.run_default, spec, most_bytes)
    try:
        for feed in (part for batch in inputs for part in batches.parts(spec.convert(batch))):
            expected = reference.run(feed, trace=tensors.keys())
            plain = runtime.run_default(feed)
            got = folded | runtime.run_traced(feed)
            for name in tensors:
                value = _value(expected, name)
                step = tables.get(name)
                tensors[name] += (
                    difference(got[name], value) if step is None else table_difference(got[name], value, step)
                )
            for name in outputs:
                instrumented[name] += difference(plain[name], got[name])
                default[name] += difference(plain[name], _value(expected, name))
            batches.traced(expected.values(), len(feed[spec.name]))
    except InterpreterError as error:
        raise MptqError(f"kernels_ref cannot run {path}{batches.where}: {one_line(error)}") from error
    if not batches.sizes.total():
        raise MptqError(f"nothing to verify {path} on: there are no inputs; give at least one image")

    def report(name: str, op: str) -> TensorReport:
        if name in tables and name in tensors:
            return TensorReport(name, op, "certified", tensors[name])
        if name in tensors:
            return TensorReport(name, op, "folded" if name in folded else "compared", tensors[name])
        return TensorReport(name, op, "unreadable" if name in made else "fused", Difference())

    found = VerifyReport(
        model=str(path),
        samples=batches.sizes.total(),
        threads=threads,
        tensors=tuple(report(name, op) for name, op in producers.items()),
        runtime_made=tuple(sorted(made - producers.keys())),
        outputs=default,
        instrumented=instrumented,
        plan=plan,
        origin=origin,
        disagreements=disagreements,
        unclaimed=_unclaimed(reference.unclaimed, live, tables, uncertain),
        batches=dict(batches.sizes),
        outputs_only=batches.outputs_only,
        together=batches.differences,
    )
    if not any(end.values for end in default.values()):
        raise MptqError(f"there is nothing to compare in {path}: its outputs hold no value; name another file")
    return found


def _live(model: onnx.ModelProto) -> set[str]:
    """The tensors that an output depends on."""
    live = {entry.name for entry in model.graph.output}
    for node in reversed(model.graph.node):
        if live.intersection(filter(None, node.output)):
            live.update(node.input)
    return live


def _unclaimed(
    found: Mapping[str, str], live: Collection[str], tables: Collection[str], uncertain: Mapping[str, str]
) -> dict[str, str]:
    """What comes without a claim of equal bits, is not certified either, and matters to an output."""
    return {
        name: f"{reason}; {uncertain[name]}" if name in uncertain else reason
        for name, reason in found.items()
        if name in live and (name not in tables or name in uncertain)
    }


def _producers(model: onnx.ModelProto) -> dict[str, str]:
    """Op that makes each tensor, in graph order."""
    return {name: node.op_type for node in model.graph.node for name in node.output if name}


def _value(expected: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in expected:
        raise MptqError(f"kernels_ref gave no value for tensor {name}; please report this file")
    return expected[name]
