"""Tensors of a file that depend on constants alone, as `kernels_ref` computes them: what a runtime folds at load."""

from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kernels_ref import Interpreter, InterpreterError
from mptq_export.runtime.session import error_line
from mptq_export.support.errors import MptqError


def constant_tensors(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """All constants by name: initializers, and what nodes make of constants alone.

    Args:
        model: with its tensors in memory.

    Raises:
        MptqError: `kernels_ref` cannot compute them.
    """
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes, known = [], set(found)
    for node in model.graph.node:
        if all(name in known for name in node.input if name):
            nodes.append(node)
            known.update(filter(None, node.output))
    if not nodes:
        return found
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(model.graph.initializer)
    names = [name for node in nodes for name in node.output if name]
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        return found | Interpreter(part).run({})
    except InterpreterError as error:
        raise MptqError(f"kernels_ref cannot unpack the constants of the file: {error_line(error)}") from error
