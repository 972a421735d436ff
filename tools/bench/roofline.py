"""The floor that onnxruntime's integer kernels set, and what the whole graph costs above it.

    python -m tools.bench.roofline MODEL.onnx [--threads 1] [--batch 1] [--rounds 20] [--json FILE]

Every integer matmul of the graph that onnxruntime really runs (QGemm, QLinearMatMul, MatMulIntegerToFloat, ...) is put
into a file of its own: same shapes, types, weights and scales, nothing else, fed with the codes that it sees in the
model. Each round runs the whole model, then each of these files in the order of the graph, so that weights come from
where they come from in the model; outputs go into memory that is there already. The floor is the sum of these runs,
less one call into onnxruntime each (the time of a file that does nothing): the model pays that once. The fastest round
counts, for the whole model and for each file: a floor is a minimum, and whatever else the machine does only adds.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from rich.console import Console
from rich.table import Table

from mptq_export.bench.inputs import common_batch, feed_of, read_spec
from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import interleave
from mptq_export.bench.op_groups import group_of
from mptq_export.bench.run import session_runner
from mptq_export.cli.common import write_json
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import Json
from mptq_export.verify.kernels.plan import kernel_plan
from mptq_export.verify.kernels.runtime_graph import RuntimeGraph, open_runtime_graph
from tools.options import Parser, positive

Arrays = dict[str, np.ndarray]

#: Seconds below which a matmul is lost in the call that runs it.
_SHORT = 3e-6


@dataclass(frozen=True)
class Shape:
    """All matmuls of one op and one shape.

    Attributes:
        op: onnxruntime's op.
        shape: ``left x right`` of its operands.
        count: how many the graph has.
        milliseconds: what they take together.
        gops: billions of multiplications and additions a second; None where one takes no longer than a call.
    """

    op: str
    shape: str
    count: int
    milliseconds: float
    gops: float | None


@dataclass(frozen=True)
class Roofline:
    """One file.

    Attributes:
        whole_ms: the whole model.
        floor_ms: its integer matmuls alone; a product with one column is a sum and no part of it.
        float_matmuls: matmuls that run in float; they are not in the floor.
        shapes: the floor by op and shape, the slowest first.
    """

    whole_ms: float
    floor_ms: float
    float_matmuls: int
    shapes: tuple[Shape, ...]

    @property
    def ratio(self) -> float:
        """The whole model over its floor."""
        return self.whole_ms / self.floor_ms


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.roofline", __doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--batch", type=positive)
    parser.add_argument("--rounds", type=positive, default=20)
    parser.add_json()
    return parser.run(run, arguments)


def run(*, model: Path, threads: int, batch: int | None, rounds: int, json_path: Path | None) -> None:
    cpu = detect_cpu()
    found, size = measure(model, threads=threads, batch=batch, rounds=rounds)
    console = Console(highlight=False)
    console.print(f"{cpu.description}; {model.name}, threads {threads}, batch {size}, {rounds} rounds", soft_wrap=True)
    table = Table("op", "operands", "matmuls", "ms", "Gop/s", box=None)
    for shape in found.shapes:
        gops = "-" if shape.gops is None else f"{shape.gops:.0f}"
        table.add_row(shape.op, shape.shape, str(shape.count), f"{shape.milliseconds:.2f}", gops)
    console.print(table)
    console.print(
        f"integer matmuls alone {found.floor_ms:.2f} ms, whole model {found.whole_ms:.2f} ms: {found.ratio:.2f} times "
        f"the floor, {1 - 1 / found.ratio:.0%} of the time is above it; {found.float_matmuls} matmuls in float",
        soft_wrap=True,
    )
    report: dict[str, Json] = {
        "model": model.name,
        "cpu": asdict(cpu),
        "threads": threads,
        "batch": size,
        "rounds": rounds,
    }
    write_json(json_path, {**report, **asdict(found), "ratio": found.ratio})


def measure(path: Path, *, threads: int, batch: int | None, rounds: int) -> tuple[Roofline, int]:
    """The roofline of one file, and the batch size.

    Raises:
        MptqError: the file cannot be run, or has no integer matmul.
    """
    spec = read_spec(path)
    size = common_batch([(path, spec)], batch)
    runtime = open_runtime_graph(path, threads=threads)
    plan = kernel_plan(runtime)
    wanted = {kernel.name for kernel in plan.integer}
    values = runtime.run_traced(feed_of(spec, size)) | feed_of(spec, size)
    nodes = [
        node
        for node in runtime.model.graph.node
        if (node.name or node.output[0]) in wanted
        and group_of(node.op_type, values[node.output[0]].shape) == "matmul"  # the others are sums
    ]
    if not nodes:
        raise MptqError(f"{path} has no integer matmul, so there is no floor; name a file that mptq-export wrote")
    runners: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "alone.onnx"
        onnx.save(_nothing(), file)
        runners["nothing"] = _bound(file, {"x": np.zeros(1, np.float32)}, {"y": np.zeros(1, np.float32)}, threads)
        for number, node in enumerate(nodes):
            model, feeds = single(node, runtime, values)
            onnx.save(model, file)
            runners[str(number)] = _bound(file, feeds, {node.output[0]: values[node.output[0]]}, threads)

    timed: list[list[float]] = []

    def all_matmuls() -> None:
        row = []
        for run in runners.values():
            start = time.perf_counter()
            run()
            row.append(time.perf_counter() - start)
        timed.append(row)

    whole = interleave({"whole": session_runner(path, spec, size, threads), "alone": all_matmuls}, rounds)["whole"]
    fastest = np.array(timed).min(axis=0)
    each = np.maximum(fastest[1:] - fastest[0], 0)
    shapes = _by_shape(nodes, values, runtime, each)
    return Roofline(whole.min() * 1e3, each.sum() * 1e3, len(plan.floating), shapes), size


def single(node: onnx.NodeProto, runtime: RuntimeGraph, values: Arrays) -> tuple[onnx.ModelProto, Arrays]:
    """A model of this node alone, and what to feed it: the codes that it saw in the whole model.

    Args:
        node: a node of the optimised graph.
        runtime: that graph.
        values: every tensor of one run.
    """
    constants = {tensor.name: tensor for tensor in runtime.model.graph.initializer}
    used = list(dict.fromkeys(name for name in node.input if name))
    feeds = {name: np.ascontiguousarray(values[name]) for name in used if name not in constants}
    graph = helper.make_graph(
        [node],
        "single",
        [_value_info(name, array) for name, array in feeds.items()],
        [_value_info(node.output[0], values[node.output[0]])],
        [constants[name] for name in used if name in constants],
    )
    model = helper.make_model(graph, opset_imports=runtime.model.opset_import, ir_version=runtime.model.ir_version)
    return model, feeds


def _nothing() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "nothing",
        [_value_info("x", np.zeros(1, np.float32))],
        [_value_info("y", np.zeros(1, np.float32))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _value_info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _bound(path: Path, feeds: Arrays, outputs: Arrays, threads: int) -> Callable[[], object]:
    """Run a file on memory that is bound once: nothing is copied or allocated."""
    session = open_session(path, threads=threads)
    binding = session.io_binding()
    kept: list[Any] = []
    for name, array in feeds.items():
        kept.append(ort.OrtValue.ortvalue_from_numpy(array))
        binding.bind_ortvalue_input(name, kept[-1])
    for name, array in outputs.items():
        kept.append(ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type))
        binding.bind_ortvalue_output(name, kept[-1])

    def run_bound(_kept: list[Any] = kept) -> object:  # the binding does not keep its memory
        return session.run_with_iobinding(binding)

    return run_bound


def _by_shape(
    nodes: list[onnx.NodeProto], values: Arrays, runtime: RuntimeGraph, seconds: np.ndarray
) -> tuple[Shape, ...]:
    """The matmuls by op and shape; `seconds` holds one time for each."""
    constants = {tensor.name: tuple(tensor.dims) for tensor in runtime.model.graph.initializer}
    together: dict[tuple[str, str], list[int]] = defaultdict(list)
    work: dict[tuple[str, str], float] = defaultdict(float)
    for number, node in enumerate(nodes):
        tensors = [name for name in node.input if name]
        sizes = [constants.get(name) or values[name].shape for name in tensors if _is_matrix(name, constants, values)]
        key = (node.op_type, " x ".join("·".join(str(size) for size in shape) for shape in sizes[:2]))
        together[key].append(number)
        work[key] += 2.0 * values[node.output[0]].size * sizes[0][-1]
    rows = []
    for (op, shape), numbers in together.items():
        taken = float(seconds[numbers].sum())
        gops = work[op, shape] / taken / 1e9 if taken > _SHORT * len(numbers) else None
        rows.append(Shape(op, shape, len(numbers), taken * 1e3, gops))
    return tuple(sorted(rows, key=lambda row: -row.milliseconds))


def _is_matrix(name: str, constants: dict[str, tuple[int, ...]], values: Arrays) -> bool:
    return len(constants[name] if name in constants else values[name].shape) >= 2


if __name__ == "__main__":
    sys.exit(main())
