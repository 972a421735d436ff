"""What OpenVINO's CPU plugin made of a file: its own graph of kernels (`get_runtime_model`).

A kernel may hold several nodes of the file: a Gemm with GELU behind it, or all of attention (two products with the
softmax between). The plugin's `runtimePrecision` names the type of one of its inputs; here it is the widest type of all
that a kernel reads and that is no constant. So a product counts as one of integers only where both factors are codes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx

from mptq_export.runtime.edge.session import PlacedOps

SOURCE = "OpenVINO's runtime model: kernels, what is fused into each, and the types that they read"

#: Multiply codes by codes, and add up in int32.
_PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose", "FullyConnected", "Convolution", "Deconvolution"}
#: Hand values on.
_MOVES = {
    "Concatenation",
    "Gather",
    "Pad",
    "Reorder",
    "Reshape",
    "Split",
    "StridedSlice",
    "Tile",
    "Transpose",
}
#: Neither is computed when the file runs.
_ENDS = {"Const", "Input", "Output"}
#: Nodes of a file that say what codes mean, or how values lie.
_SILENT = {"QuantizeLinear", "DequantizeLinear", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"}
#: Of these, in this order, is the name of a kernel that holds nothing else.
_BORDERS = ("QuantizeLinear", "DequantizeLinear")
_NAMES = {"f32": "FP32", "f16": "FP16", "bf16": "BF16", "f64": "FP64", "i8": "INT8", "u8": "INT8"}


def node_types(path: Path) -> dict[str, str]:
    """Op of every named node of an ONNX file; of a file of OpenVINO's own kind (`.xml`) nothing."""
    if path.suffix == ".xml":
        return {}
    return {node.name: node.op_type for node in onnx.load(path, load_external_data=False).graph.node if node.name}


def placed_kernels(ops: Iterable[Any], types: Mapping[str, str]) -> tuple[PlacedOps, ...]:
    """All kernels of a runtime model that run for every input, by their type.

    Args:
        ops: of the runtime model, in their order.
        types: op of every node of the file (`node_types`).
    """
    constant: set[str] = set()
    found: Counter[tuple[str, str, bool | None]] = Counter()
    for op in ops:
        kernel = str(op.get_rt_info()["layerType"].value)
        read = [
            entry for entry in op.inputs() if entry.get_source_output().get_node().get_friendly_name() not in constant
        ]
        if kernel == "Const" or (kernel not in _ENDS and not read):  # folded when it was compiled
            constant.add(op.get_friendly_name())
        elif kernel not in _ENDS:
            widest = max((entry.get_element_type() for entry in read), key=lambda kind: (kind.is_real(), kind.size))
            held = _held(str(op.get_rt_info()["originalLayersNames"].value), types)
            parts = [part for part in held if part not in _SILENT]
            borders = [part for part in _BORDERS if part in held]
            label = kernel if kernel in _MOVES else "+".join(parts or borders[:1] or [kernel])
            numbers = _NAMES.get(widest.to_string(), widest.to_string().upper())
            found[label, numbers, _integer(kernel, parts, floating=widest.is_real())] += 1
    return tuple(
        PlacedOps(op, "CPU", numbers, count, accelerated=True, integer=integer)
        for (op, numbers, integer), count in sorted(found.items(), key=str)
    )


def _held(names: str, types: Mapping[str, str]) -> list[str]:
    """Ops of the file that are in a kernel, as far as its record names them."""
    found: dict[str, str] = {}
    for name in names.split(","):
        known = name
        while known not in types and "/" in known:  # NAME/WithoutBiases, NAME/DequantizationMultiply
            known = known.rpartition("/")[0]
        if known in types:
            found[known] = types[known]
    return list(found.values())


def _integer(kernel: str, parts: list[str], *, floating: bool) -> bool | None:
    """Whether a kernel computes in integers; of a norm or a sum that reads codes the record does not say."""
    if floating:
        return False
    return True if kernel in _MOVES or _PRODUCTS & {kernel, *parts} else None
