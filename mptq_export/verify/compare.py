"""Every tensor of a file: onnxruntime against `kernels_ref`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kernels_ref import Interpreter, InterpreterError
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import error_line, is_readable
from mptq_export.support.errors import MptqError
from mptq_export.verify.batches import BatchCheck
from mptq_export.verify.code_functions.certified import certified_tables, table_difference
from mptq_export.verify.code_functions.clearance import uncertain_tables
from mptq_export.verify.difference import Difference, difference
from mptq_export.verify.graph import GraphReader
from mptq_export.verify.kernels.agreement import ReferenceKernels, refuse_undefined
from mptq_export.verify.kernels.parts import PART_BYTES
from mptq_export.verify.kernels.plan import kernel_plan
from mptq_export.verify.kernels.runtime_graph import open_runtime_graph
from mptq_export.verify.kernels.saturation import may_saturate
from mptq_export.verify.onnx_file import load_onnx
from mptq_export.verify.origin import check_contents
from mptq_export.verify.reference import Reference
from mptq_export.verify.report import TensorReport, VerifyReport
from mptq_export.verify.side_by_side import compare_tensors


def verify_model(
    path: Path,
    inputs: Iterable[NDArray[Any]],
    *,
    threads: int = 0,
    reference: Reference | None = None,
    most_bytes: float = inf,
    part_bytes: float = PART_BYTES,
) -> VerifyReport:
    """Run onnxruntime and the reference on the same inputs and compare every tensor.

    One batch is held in memory at a time, with all its tensors, twice: keep the batches small. Where those of one input
    are more than `PART_BYTES`, they are compared a part at a time. Where the file leaves
    the batch free, the outputs of each batch are also compared with those of its inputs alone.

    Args:
        path: the ONNX file.
        inputs: batches in the type and shape of the graph's one input.
        threads: onnxruntime's threads within an operator; 0 is its own choice.
        reference: what to compare with; `kernels_ref` on the same file when left out.
        most_bytes: of batches whose tensors take more, the tensors of each input alone are compared.
        part_bytes: of inputs whose tensors take more, so many are compared at a time.

    Raises:
        MptqError: the file is not ONNX, one of the two cannot run it, or there are no inputs.
    """
    original = load_onnx(path)
    if reference is None:  # first: it refuses more than onnxruntime does, loops and huge results among it
        try:
            reference = Interpreter(original)
        except InterpreterError as error:
            raise MptqError(f"kernels_ref cannot run {path}: {error_line(error)}") from error
    graph = GraphReader(original)
    producers = {name: node.op_type for name, node in graph.producers.items()}
    live, tables, origin = graph.behind(graph.outputs), certified_tables(original), check_contents(original)
    uncertain = uncertain_tables(original, reference, tables)
    ours = ReferenceKernels(original, reference.kernels)
    del original, graph  # weights of a large model need its memory
    runtime = open_runtime_graph(path, threads=threads, part_bytes=part_bytes)
    refuse_undefined(runtime.model, path)
    spec, plan = graph_input(runtime.default), kernel_plan(runtime)
    folded = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in runtime.model.graph.initializer
        if tensor.name in producers
    }
    disagreements = ours.disagreements(runtime.model)
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

    def compare(name: str, got: NDArray[Any], value: NDArray[Any]) -> None:
        step = tables.get(name)
        tensors[name] += difference(got, value) if step is None else table_difference(got, value, step)

    try:
        for feed in (part for batch in inputs for part in batches.parts(spec.convert(batch))):
            ends = compare_tensors(runtime, reference, feed, compare, names=tensors.keys(), folded=folded)
            plain = runtime.run_default(feed)
            for name in outputs:
                instrumented[name] += difference(plain[name], ends.got[name])
                default[name] += difference(plain[name], ends.expected[name])
            batches.traced(ends.nbytes, len(feed[spec.name]))
    except InterpreterError as error:
        raise MptqError(f"kernels_ref cannot run {path}{batches.where}: {error_line(error)}") from error
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


def _unclaimed(
    found: Mapping[str, str], live: Collection[str], tables: Collection[str], uncertain: Mapping[str, str]
) -> dict[str, str]:
    """What comes without a claim of equal bits, is not certified either, and matters to an output."""
    return {
        name: f"{reason}; {uncertain[name]}" if name in uncertain else reason
        for name, reason in found.items()
        if name in live and (name not in tables or name in uncertain)
    }
