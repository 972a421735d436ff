"""Small QDQ graphs, written node by node, whose kernels in onnxruntime are known."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SCALE_A = np.float32(0.02)
SCALE_Y = np.float32(0.01)
K, N = 24, 10


def safe_weights(seed: int = 0) -> NDArray[np.int8]:
    """(K, N) weights of 7 bits: no pair of products can saturate an int16 sum."""
    return np.random.default_rng(seed).integers(-63, 64, (K, N)).astype(np.int8)


def extreme_weights() -> NDArray[np.int8]:
    """(K, N) weights of full 8 bits, all at the end of the range: they saturate on a CPU without VNNI."""
    return np.full((K, N), 127, np.int8)


def linear_model(
    weights: NDArray[np.int8],
    *,
    weight_zero_point: bool = True,
    uint8_input: bool = False,
    output_shape: tuple[str | int, int] = ("batch", N),
) -> onnx.ModelProto:
    """Input -> Q -> DQ -> Gemm -> Q -> DQ -> Round -> logits, one biased linear.

    Args:
        weights: (K, N) codes.
        weight_zero_point: whether the weights' DQ names its zero point; without it onnxruntime runs a float Gemm.
        uint8_input: raw (batch, K) codes as the graph's input in place of float32.
        output_shape: declared shape of the logits.
    """
    scale_w = np.linspace(0.001, 0.002, N).astype(np.float32)
    tensors = {
        "a_scale": SCALE_A,
        "a_zp": np.uint8(128),
        "w": weights,
        "w_scale": scale_w,
        "w_zp": np.zeros(N, np.int8),
        "b": np.random.default_rng(1).integers(-5000, 5000, N).astype(np.int32),
        "b_scale": SCALE_A * scale_w,
        "b_zp": np.zeros(N, np.int32),
        "y_scale": SCALE_Y,
        "y_zp": np.uint8(131),
    }
    weight_inputs = ["w", "w_scale", "w_zp"] if weight_zero_point else ["w", "w_scale"]
    first = [] if uint8_input else [helper.make_node("QuantizeLinear", ["input", "a_scale", "a_zp"], ["a_q"], "a_q")]
    nodes = [
        *first,
        helper.make_node("DequantizeLinear", ["input" if uint8_input else "a_q", "a_scale", "a_zp"], ["a"], "a"),
        helper.make_node("DequantizeLinear", weight_inputs, ["w_f"], "w_f", axis=1),
        helper.make_node("DequantizeLinear", ["b", "b_scale", "b_zp"], ["b_f"], "b_f", axis=0),
        helper.make_node("Gemm", ["a", "w_f", "b_f"], ["y"], "head/linear"),
        helper.make_node("QuantizeLinear", ["y", "y_scale", "y_zp"], ["y_q"], "y_q"),
        helper.make_node("DequantizeLinear", ["y_q", "y_scale", "y_zp"], ["y_dq"], "y_dq"),
        helper.make_node("Mul", ["y_dq", "y_scale"], ["scaled"], "scaled"),
        helper.make_node("Add", ["scaled", "y_dq"], ["logits"], "logits"),
    ]
    input_type = TensorProto.UINT8 if uint8_input else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", input_type, ["batch", K])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write the model and return its path."""
    onnx.save(model, path)
    return path
