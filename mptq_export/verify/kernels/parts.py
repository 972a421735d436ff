"""The graph that onnxruntime runs, cut into parts whose tensors fit into memory together.

Attention over the tokens of a large picture has tensors of a gigabyte, several a layer: all of a file at once, twice,
fit nowhere. Each part is a file of its own that starts from tensors of the parts before it, so that every node runs
once, with the kernel that it has in the whole graph: that graph is optimised already, and runs as it stands.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.runtime.session import NUMPY_TYPES, open_session, run_session

#: Bytes of the tensors of one input that are held at once; larger ones are alone.
PART_BYTES = 2**29

#: Constants of so many numbers may be sizes that an op takes.
_SHAPES = 64

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Part:
    """Some nodes of the graph.

    Attributes:
        session: runs them, and hands out all that they make.
        reads: inputs of the graph and tensors of earlier parts.
        makes: tensors that it makes.
        kept: those of them, and of what it reads, that later parts read.
    """

    session: ort.InferenceSession
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    kept: frozenset[str]


def run_parts(parts: Sequence[Part], feed: Mapping[str, NDArray[Any]]) -> Iterator[Tensors]:
    """What every part makes, one after the other.

    Args:
        parts: of a graph, in order.
        feed: the inputs of the graph.
    """
    held = dict(feed)
    for part in parts:
        made = run_session(part.session, list(part.makes), {name: held[name] for name in part.reads})
        held = {name: value for name, value in (held | made).items() if name in part.kept}
        yield made


def open_parts(
    model: onnx.ModelProto,
    entries: Mapping[str, ort.NodeArg],
    document: onnx.ModelProto,
    *,
    threads: int,
    most: float = PART_BYTES,
) -> tuple[Part, ...]:
    """Cut a graph.

    Args:
        model: the optimised graph.
        entries: all its inputs and tensors, as onnxruntime describes them.
        document: the file that it was made from; nodes run in its order where they can.
        threads: onnxruntime's threads within an operator.
        most: bytes of tensors of one input that a part makes, unless one node makes more.

    Returns:
        The parts; none where all tensors together are no more than `most`, or the graph cannot be cut.
    """
    nodes = list(model.graph.node)
    whole = all(entries[name].type in NUMPY_TYPES for node in nodes for name in node.output if name)
    nested = any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for n in nodes for a in n.attribute)
    if not whole or nested or not nodes:
        return ()
    known, order = (
        sizes_of_one(document),
        {name: i for i, node in enumerate(document.graph.node) for name in node.output},
    )
    sizes = [sum(_bytes(entries[name], known.get(name)) for name in node.output if name) for node in nodes]
    if sum(sizes) <= most:
        return ()
    groups: list[list[onnx.NodeProto]] = [[]]
    filled = 0
    size_of = {id(node): size for node, size in zip(nodes, sizes, strict=True)}
    for node in _ordered(nodes, order):
        if groups[-1] and filled + size_of[id(node)] > most:
            groups.append([])
            filled = 0
        groups[-1].append(node)
        filled += size_of[id(node)]
    cut = _Cut(model, entries, threads)
    reads = [cut.reads(group) for group in groups]
    with tempfile.TemporaryDirectory() as folder:
        return tuple(
            Part(
                cut.session(group, read, Path(folder) / f"{i}.onnx"),
                read,
                tuple(name for node in group for name in node.output if name),
                frozenset(name for later in reads[i + 1 :] for name in later),
            )
            for i, (group, read) in enumerate(zip(groups, reads, strict=True))
        )


class _Cut:
    """A graph of which some nodes become a file."""

    def __init__(self, model: onnx.ModelProto, entries: Mapping[str, ort.NodeArg], threads: int) -> None:
        self._model, self._entries, self._threads = model, entries, threads
        self._constants = {each.name: each for each in model.graph.initializer}

    def reads(self, group: Sequence[onnx.NodeProto]) -> tuple[str, ...]:
        """What some nodes read of other nodes and of the graph's inputs."""
        made = {name for node in group for name in node.output}
        names = dict.fromkeys(name for node in group for name in node.input if name)
        return tuple(name for name in names if name not in made and name not in self._constants)

    def session(self, group: Sequence[onnx.NodeProto], reads: Sequence[str], path: Path) -> ort.InferenceSession:
        """The nodes as a graph that hands out all that they make."""
        model = self._model
        part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
        part.graph.name = "part"
        part.graph.node.extend(group)
        used = dict.fromkeys(name for node in group for name in node.input if name in self._constants)
        part.graph.initializer.extend(self._constants[name] for name in used)
        for name in reads:
            entry = self._entries[name]
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(NUMPY_TYPES[entry.type]))
            sizes = [size if isinstance(size, int) else None for size in entry.shape]
            part.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, sizes))
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for node in group for name in node.output if name)
        onnx.save(part, path, save_as_external_data=True, location=f"{path.name}.data")
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_cpu_mem_arena = False  # else every part keeps what it once took
        options.enable_mem_pattern = False
        return open_session(path, options, threads=self._threads)


def _ordered(nodes: Sequence[onnx.NodeProto], order: Mapping[str, int]) -> Iterator[onnx.NodeProto]:
    """The nodes, each behind what it reads, by the place of their first tensor in the file."""
    places = [min((order[name] for name in node.output if name in order), default=-1) for node in nodes]
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    done: set[int] = set()
    for first in sorted(range(len(nodes)), key=lambda i: (places[i], i)):
        pending = [first]
        while pending:
            index = pending[-1]
            missing = [makers[n] for n in nodes[index].input if n in makers and makers[n] not in done]
            if missing and index not in done:
                pending += missing
                continue
            pending.pop()
            if index not in done:
                done.add(index)
                yield nodes[index]


def sizes_of_one(document: onnx.ModelProto) -> dict[str, int]:
    """How many numbers the tensors of a file have for one input, as far as its ops say."""
    light = onnx.ModelProto(ir_version=document.ir_version, opset_import=document.opset_import)
    light.graph.name = "sizes"
    light.graph.node.extend(document.graph.node)
    light.graph.input.extend(document.graph.input)
    light.graph.output.extend(onnx.ValueInfoProto(name=entry.name) for entry in document.graph.output)
    for entry in light.graph.input:
        for size in entry.type.tensor_type.shape.dim:
            if not size.HasField("dim_value"):
                size.dim_value = 1
    for constant in document.graph.initializer:
        small = math.prod(constant.dims) <= _SHAPES
        light.graph.initializer.append(
            constant
            if small
            else onnx.TensorProto(name=constant.name, data_type=constant.data_type, dims=constant.dims)
        )
    try:
        found = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):  # not a file of ours
        return {}
    shapes = {entry.name: entry.type.tensor_type.shape.dim for entry in (*found.value_info, *found.output)}
    return {name: math.prod(size.dim_value or 1 for size in sizes) for name, sizes in shapes.items()}


def _bytes(entry: ort.NodeArg, numbers: int | None) -> int:
    """Bytes of a tensor of one input."""
    told = math.prod(each if isinstance(each, int) else 1 for each in entry.shape)
    return np.dtype(NUMPY_TYPES[entry.type]).itemsize * max(told, numbers or 0)
