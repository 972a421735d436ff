"""Every operator of a file: its definition, its operands with type, shape and range, what computes it, its bounds."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper

from mptq_export.dossier.contents import Attribute, Bound, Operand, Operator, OperatorKind, Size
from mptq_export.dossier.interval import EVERYTHING
from mptq_export.dossier.kinds import KINDS, kind_of
from mptq_export.dossier.ranges import Ranges, ranges
from mptq_export.verify.constants import constant_tensors
from mptq_export.verify.graph import GraphReader
from mptq_export.verify.kernels.plan import MatmulKernel
from mptq_export.verify.reference import kernels_of

_OWN = "ai.onnx"


def operators_of(
    model: onnx.ModelProto, contents: Mapping[str, str], bounds: Sequence[Bound], plan: Sequence[MatmulKernel]
) -> tuple[Operator, ...]:
    """All operators of a file, in order.

    Args:
        model: an exact file, with its tensors in memory.
        contents: hashes of its parts, as the recipe lists them.
        bounds: of the proof.
        plan: the matmuls as onnxruntime runs them; empty where that is not known.

    Raises:
        MptqError: `kernels_ref` cannot read the file, or nothing is written of an op.
    """
    constants = constant_tensors(model)
    types, shapes = _types_and_shapes(model)
    for name, values in constants.items():
        shapes[name] = tuple(values.shape)
    tensors = _Tensors(types, shapes, ranges(model, constants, shapes), frozenset(constants), contents)
    computed, of_layer = _computed_as(model), _by_layer(bounds)
    ran = {kernel.name: kernel.op for kernel in plan}
    versions = {entry.domain or _OWN: entry.version for entry in model.opset_import}
    found = []
    for number, node in enumerate(model.graph.node, 1):
        domain = node.domain or _OWN
        schema = onnx.defs.get_schema(node.op_type, versions[domain], node.domain)
        constant = node.output[0] in constants
        found.append(
            Operator(
                number=number,
                name=node.name,
                op=node.op_type,
                domain=domain,
                version=schema.since_version,
                attributes=_attributes(node, schema),
                inputs=tuple(map(tensors.operand, node.input)),
                outputs=tuple(map(tensors.operand, node.output)),
                kind=kind_of(node, constant),
                kernel=computed.get(node.output[0], node.op_type),
                runtime_kernel=ran.get(node.name),
                bounds=_bounds_of(node.name, of_layer),
            )
        )
    return tuple(found)


def kinds_of(operators: Sequence[Operator]) -> tuple[OperatorKind, ...]:
    """The kinds that there are."""
    counts = {key: sum(operator.kind == key for operator in operators) for key in KINDS}
    return tuple(
        OperatorKind(key, counts[key], kind.rounding, kind.overflow) for key, kind in KINDS.items() if counts[key]
    )


class _Tensors:
    """What is known of every tensor."""

    def __init__(
        self,
        types: Mapping[str, str],
        shapes: Mapping[str, tuple[Size, ...]],
        intervals: Ranges,
        constants: frozenset[str],
        contents: Mapping[str, str],
    ) -> None:
        self._types, self._shapes, self._intervals = types, shapes, intervals
        self._constants, self._contents = constants, contents

    def operand(self, name: str) -> Operand:
        """A tensor by its name; of '' an operand that is left out."""
        low, high = self._intervals.get(name, EVERYTHING)
        return Operand(
            name=name,
            type=self._types.get(name, ""),
            shape=self._shapes.get(name),
            low=low if math.isfinite(low) else None,
            high=high if math.isfinite(high) else None,
            constant=name in self._constants,
            sha256=self._contents.get(f"tensor {name}"),
        )


def _types_and_shapes(model: onnx.ModelProto) -> tuple[dict[str, str], dict[str, tuple[Size, ...]]]:
    """Element types and sizes by name: as the file says them, else as ONNX infers them."""
    graph = model.graph
    entries = [*graph.input, *graph.value_info, *graph.output]
    if {name for node in graph.node for name in node.output} - {entry.name for entry in entries}:
        entries = [*onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info, *entries]
    types = {tensor.name: _type(tensor.data_type) for tensor in graph.initializer}
    shapes: dict[str, tuple[Size, ...]] = {}
    for entry in entries:
        tensor = entry.type.tensor_type
        types[entry.name] = _type(tensor.elem_type)
        if tensor.HasField("shape"):
            shapes[entry.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim
            )
    return types, shapes


def _type(number: int) -> str:
    return str(onnx.TensorProto.DataType.Name(number)).lower() if number else ""


def _attributes(node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> tuple[Attribute, ...]:
    """Those that the node has, and the defaults of those that it leaves out."""
    given = {entry.name: entry for entry in node.attribute}
    found = [Attribute(name, _json(helper.get_attribute_value(entry)), False) for name, entry in given.items()]
    for name, entry in sorted(schema.attributes.items()):
        if name not in given and entry.default_value.name:
            found.append(Attribute(name, _json(helper.get_attribute_value(entry.default_value)), True))
    return tuple(found)


def _json(value: Any) -> str:
    if isinstance(value, bytes):
        return json.dumps(value.decode(errors="replace"))
    if isinstance(value, onnx.TensorProto):
        return json.dumps(f"{_type(value.data_type)} {list(value.dims)}")
    return json.dumps(value if isinstance(value, int | float | str) else list(value))


def _computed_as(model: onnx.ModelProto) -> dict[str, str]:
    """The kernel of `kernels_ref` that gives a tensor, or that its node is a part of."""
    kernels = {name: kernel.op for kernel in kernels_of(model) for name in kernel.outputs if "\0" not in name}
    graph = GraphReader(model)
    for node in model.graph.node:
        for name in node.output:
            readers = graph.readers(name)
            if name not in kernels and len(readers) == 1 and readers[0].output[0] in kernels:
                kernels[name] = kernels[readers[0].output[0]]  # the codes of a product, made within it
    return kernels


def _by_layer(bounds: Sequence[Bound]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for bound in bounds:
        found[bound.layer] = (*found.get(bound.layer, ()), bound.number)
    return found


def _bounds_of(name: str, of_layer: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Those of the innermost layer with bounds whose name a node's begins with."""
    while name:
        if name in of_layer:
            return of_layer[name]
        name = name.rpartition(".")[0]
    return ()
