"""Smallest files with codes: a float input to codes, some nodes between, and codes again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

X = "x_dequantized"
Y = "y_float"


@dataclass
class CodesBetween:
    """A graph that reads `X` and writes `Y`, with QuantizeLinear and DequantizeLinear on both sides.

    Attributes:
        nodes: between the codes.
        shape: of the input.
        constants: of the nodes.
        x: step and zero point of the input's codes; the zero point's type is theirs.
        y: step and zero point of the output's codes.
        opset: of the file.
    """

    nodes: list[onnx.NodeProto]
    shape: tuple[int, ...]
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    x: tuple[float, Any] = (0.05, np.int8(0))
    y: tuple[float, Any] = (0.05, np.int8(0))
    opset: int = 17

    def write(self, path: Path) -> Path:
        """The file."""
        stored = {**self.constants, **_scale("x", *self.x), **_scale("y", *self.y)}
        nodes = [*_codes("x", "x", X), *self.nodes, *_codes("y", Y, "y")]
        graph = helper.make_graph(
            nodes,
            "codes",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
        )
        domains = [helper.make_opsetid(domain, 1) for domain in {node.domain for node in nodes} if domain]
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset), *domains], ir_version=8)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return path

    def inputs(self, count: int = 4) -> NDArray[np.float32]:
        """Inputs that use most codes: [count, *shape]."""
        step, _ = self.x
        return (40 * step * np.random.default_rng(0).standard_normal((count, *self.shape))).astype(np.float32)

    def steps_off(self, got: NDArray[Any], path: Path, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far results are from onnxruntime's, in steps of the output's codes."""
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        want = np.stack([session.run(None, {"x": x})[0] for x in inputs])
        return np.asarray((got.reshape(want.shape).astype(np.float64) - want) / self.y[0])


def weight_codes(name: str, weight: NDArray[Any], zero_points: NDArray[np.int8], axis: int) -> dict[str, Any]:
    """Constants of a weight's codes with a step a channel (`NAME_codes`, `NAME_step`, `NAME_zero`), and their node.

    Args:
        name: of the weight.
        weight: whole numbers, in steps.
        zero_points: a channel each.
        axis: of the channels.
    """
    at = [1] * weight.ndim
    at[axis] = -1
    step = 0.01 * (1 + np.arange(len(zero_points)) / len(zero_points))
    constants = {
        f"{name}_codes": (weight + zero_points.reshape(at)).astype(np.int8),
        f"{name}_step": step.astype(np.float32),
        f"{name}_zero": zero_points,
    }
    return {"constants": constants, "node": helper.make_node("DequantizeLinear", list(constants), [name], axis=axis)}


def erf_gelu(divided: bool) -> CodesBetween:
    """GELU in five nodes; its argument is divided by the root of 2, or multiplied by the inverse."""
    first = ("Div", np.float32(2**0.5)) if divided else ("Mul", np.float32(2**-0.5))
    nodes = [
        helper.make_node(first[0], [X, "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Mul", [X, "c"], ["d"]),
        helper.make_node("Mul", ["d", "half"], [Y]),
    ]
    constants = {"root": first[1], "one": np.float32(1), "half": np.float32(0.5)}
    return CodesBetween(nodes, (1, 16), constants, x=(0.05, np.int8(3)), y=(0.03, np.int8(-5)))


def softmax(x: Any, y: Any, step: float = 2**-8) -> CodesBetween:
    """A softmax between codes of these zero points."""
    return CodesBetween([helper.make_node("Softmax", [X], [Y], axis=-1)], (1, 2, 8, 16), x=(0.05, x), y=(step, y))


def _scale(name: str, step: float, zero_point: Any) -> dict[str, NDArray[Any]]:
    return {f"{name}_step": np.asarray(np.float32(step)), f"{name}_zero": np.asarray(zero_point)}


def _codes(name: str, source: str, result: str) -> list[onnx.NodeProto]:
    scale = [f"{name}_step", f"{name}_zero"]
    return [
        helper.make_node("QuantizeLinear", [source, *scale], [f"{name}_codes"]),
        helper.make_node("DequantizeLinear", [f"{name}_codes", *scale], [result]),
    ]
