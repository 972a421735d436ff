"""The graph that onnxruntime really runs, with every tensor in it made visible.

Asking a default session for an inner tensor changes the result: a tensor that is a graph output cannot be fused
away, so other kernels run. Instead the default session writes its *optimised* graph to a file, every tensor of that
graph is made an output, and the result is run with all optimisations off: the fused nodes are in the file already,
so the kernels are those of the default session. (The caller still checks that the outputs are the same.) Where its
tensors are too many to be held at once, it runs in parts.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from kernels_ref import read_model
from mptq_export.runtime.session import NUMPY_TYPES, is_readable, open_session, run_session
from mptq_export.verify.kernels.parts import PART_BYTES, Part, open_parts, run_parts
from mptq_export.verify.onnx_file import load_onnx


@dataclass(frozen=True)
class RuntimeGraph:
    """onnxruntime's optimised graph, ready to run.

    Attributes:
        model: the optimised graph.
        default: the session with onnxruntime's default options.
        instrumented: a session on `model` whose outputs are all tensors of the graph; None where it runs in parts.
        parts: the same in parts; none where all tensors are held at once.
        readable: names of the tensors that onnxruntime can hand out, in its order.
        dtypes: NumPy's type name of each tensor; onnxruntime's own name where NumPy has no such type.
    """

    model: onnx.ModelProto
    default: ort.InferenceSession
    instrumented: ort.InferenceSession | None
    parts: tuple[Part, ...]
    readable: list[str]
    dtypes: dict[str, str]

    def run_default(self, feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The default session's outputs by name."""
        return run_session(self.default, [entry.name for entry in self.default.get_outputs()], feed)

    def run_traced(self, feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every readable tensor of the optimised graph by name."""
        if self.instrumented is None:
            return {name: value for made in self.run_parts(feed) for name, value in made.items()}
        return run_session(self.instrumented, self.readable, feed)

    def run_parts(self, feed: dict[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[Any]]]:
        """The same of every part, one after the other."""
        return run_parts(self.parts, feed)


def open_runtime_graph(path: Path, *, threads: int = 0, part_bytes: float = PART_BYTES) -> RuntimeGraph:
    """Optimise the file as a default session does and expose every tensor.

    Args:
        path: the ONNX file.
        threads: threads within an operator; 0 is onnxruntime's own choice.
        part_bytes: tensors of one input that are held at once.

    Raises:
        MptqError: the file is not ONNX, or onnxruntime refuses it.
    """
    document = load_onnx(path)  # onnxruntime's own message about a damaged file says less
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(optimised)
        # Else what the file keeps in other files is only named, by paths that do not hold here.
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimised.data")
        default = open_session(path, options, threads=threads)
        model = read_model(optimised)  # it may have no node left: all folded

        exposed = onnx.ModelProto()
        exposed.CopyFrom(model)
        outputs = {entry.name for entry in exposed.graph.output}
        for node in exposed.graph.node:
            # onnxruntime infers the types, those of its own ops too; the onnx package could not.
            exposed.graph.output.extend(
                onnx.ValueInfoProto(name=name) for name in node.output if name and name not in outputs
            )
        onnx.save(exposed, optimised, save_as_external_data=True, location="exposed.data")
        del exposed  # a copy of all weights
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        instrumented = open_session(optimised, options, threads=threads)

    entries = [*instrumented.get_inputs(), *instrumented.get_outputs()]
    dtypes = {entry.name: NUMPY_TYPES.get(entry.type, entry.type) for entry in entries}
    constants = model.graph.initializer
    dtypes |= {entry.name: onnx.helper.tensor_dtype_to_np_dtype(entry.data_type).name for entry in constants}
    readable = [entry.name for entry in instrumented.get_outputs() if is_readable(entry.type)]
    parts = open_parts(model, {entry.name: entry for entry in entries}, document, threads=threads, most=part_bytes)
    return RuntimeGraph(model, default, None if parts else instrumented, parts, readable, dtypes)
