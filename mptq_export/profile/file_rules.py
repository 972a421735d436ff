"""Rules about a file and its graph."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

import onnx

from mptq_export.profile.rule import Finding, at
from mptq_export.profile.view import ProfileView

_TENSORS, _ONNX = "tensor_type", "ai.onnx"


def versions(view: ProfileView) -> Iterator[Finding]:
    """One version of each operator set that is used, and of no other."""
    model = view.declared.model
    imported = Counter(entry.domain or _ONNX for entry in model.opset_import)
    used = {node.domain or _ONNX for node in view.nodes}
    for domain in sorted(used | set(imported)):
        if imported[domain] != 1:
            yield Finding("the file", f"names the version of the operator set {domain} {imported[domain]} times")
        elif domain not in used:
            yield Finding("the file", f"names the operator set {domain}, of which no node is")


def complete(view: ProfileView) -> Iterator[Finding]:
    """Nothing that lies outside the file, and no training graph."""
    for name in sorted(view.external):
        yield Finding(name, "its values are in another file")
    if view.declared.model.training_info:
        yield Finding("the file", "it has graphs for training")


def described_ends(view: ProfileView) -> Iterator[Finding]:
    """Inputs and outputs say what they are."""
    graph = view.declared.model.graph
    for entry in (*graph.input, *graph.output):
        if not entry.doc_string.strip():
            yield Finding(entry.name, "no doc string says what it is")


def no_functions(view: ProfileView) -> Iterator[Finding]:
    """No functions of the file's own."""
    for function in view.declared.model.functions:
        yield Finding(function.name, "it is a function of the file: its nodes must stand in the graph")


def types_and_shapes(view: ProfileView) -> Iterator[Finding]:
    """Every tensor has its type and its shape written, and they are those that follow."""
    declared, shaped = view.declared, _with_shapes(view.declared.model.graph)
    for name in _tensors(view):
        if not declared.kinds.get(name) or name not in shaped:
            yield Finding(name, "its type and shape are not written")
        elif declared.kinds[name] != view.kinds.get(name, declared.kinds[name]):
            yield Finding(name, "its type is written as another one than follows")
        elif (found := view.sizes(name)) is not None and declared.shapes[name] not in (found, [-1] * len(found)):
            yield Finding(name, f"its shape is written as {declared.shapes[name]}, and {found} follows")


def fixed_sizes(view: ProfileView) -> Iterator[Finding]:
    """No size is free."""
    for name in _tensors(view):
        sizes = view.declared.shapes.get(name, [])
        if min(sizes, default=1) < 1:
            yield Finding(name, f"its shape {['?' if size < 0 else size for size in sizes]} is not fixed")


def no_dead_node(view: ProfileView) -> Iterator[Finding]:
    """What a node gives is read."""
    for node in view.nodes:
        for name in filter(None, node.output):
            if name not in view.readers and name not in view.outputs:
                yield at(node, f"nothing reads {name}")


def all_read(view: ProfileView) -> Iterator[Finding]:
    """Every input of the graph and everything stored is read."""
    for name in chain((entry.name for entry in view.model.graph.input), view.stored):
        if name not in view.readers and name not in view.outputs:
            yield Finding(name, "nothing reads it")


def names(view: ProfileView) -> Iterator[Finding]:
    """Every node has a name of its own, and every tensor is given once."""
    graph = view.declared.model.graph
    of_nodes = Counter(node.name for node in view.nodes)
    for name, count in of_nodes.items():
        if not name:
            yield Finding("the graph", f"{count} nodes have no name")
        elif count > 1:
            yield Finding(name, f"{count} nodes have this name")
    given = Counter(chain(*(filter(None, node.output) for node in view.nodes)))
    given.update(entry.name for entry in graph.input)
    given.update(set(view.stored) - {entry.name for entry in graph.input})
    for name, count in given.items():
        if count > 1:
            yield Finding(name, f"{count} tensors have this name")


def dense_tensors(view: ProfileView) -> Iterator[Finding]:
    """Dense tensors only."""
    graph = view.declared.model.graph
    for tensor in graph.sparse_initializer:
        yield Finding(tensor.values.name, "it is a sparse tensor")
    for entry in (*graph.input, *graph.output, *graph.value_info):
        if entry.type.WhichOneof("value") not in (None, _TENSORS):
            yield Finding(entry.name, f"it is a {str(entry.type.WhichOneof('value')).removesuffix('_type')}")
    for node in view.nodes:
        for attribute in node.attribute:
            if attribute.type in (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS):
                yield at(node, f"its attribute {attribute.name} is a sparse tensor")


def _tensors(view: ProfileView) -> Iterator[str]:
    """Names of the inputs, of what nodes give, and so of the outputs."""
    computed = (name for node in view.nodes for name in node.output if name)
    return iter(dict.fromkeys(chain((entry.name for entry in view.model.graph.input), computed)))


def _with_shapes(graph: onnx.GraphProto) -> set[str]:
    """Tensors whose shape is written: one without sizes is that of a scalar, and not none."""
    entries = chain(graph.value_info, graph.input, graph.output)
    return {entry.name for entry in entries if entry.type.tensor_type.HasField("shape")}
