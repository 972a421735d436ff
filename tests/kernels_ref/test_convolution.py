"""Convolutions between codes: one integer kernel in onnxruntime, and the same bits here."""

import numpy as np
import pytest
from integer_models import Array, assert_same_bits, model, node
from onnx import TensorProto

from kernels_ref import Interpreter, InterpreterError

RNG = np.random.default_rng(5)


def convolution(x: Array, w: Array, *, reader: str = "QuantizeLinear", **attributes: object):
    """A model of `x` (NCHW codes, zero point 110) and weights (M, C / group, kh, kw), read by one op."""
    channels, taps = w.shape[0], w[0].size
    scale = RNG.uniform(0.001, 0.01, channels).astype(np.float32)
    constants: dict[str, Array] = {
        "sx": np.float32(0.0173),
        "zx": np.uint8(110),
        "w": w,
        "sw": scale,
        "zw": np.zeros(channels, np.int8),
        "b": RNG.integers(-5000, 5000, channels).astype(np.int32),
        "sb": np.float32(0.0173) * scale,
        "zb": np.zeros(channels, np.int32),
        "sy": np.float32(0.02 * taps**0.5),
        "zy": np.uint8(128),
    }
    nodes = [
        node("DequantizeLinear", "x sx zx", "xf"),
        node("DequantizeLinear", "w sw zw", "wf", axis=0),
        node("DequantizeLinear", "b sb zb", "bf", axis=0),
        node("Conv", "xf wf bf", "yf", **attributes),
        node(reader, "yf sy zy" if reader == "QuantizeLinear" else "yf", "y"),
    ]
    kind = TensorProto.UINT8 if reader == "QuantizeLinear" else TensorProto.FLOAT
    used = constants if reader == "QuantizeLinear" else {k: v for k, v in constants.items() if k not in ("sy", "zy")}
    return model(nodes, {"x": x}, {"y": kind}, used)


@pytest.mark.parametrize("channels", [3, 16, 40])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "multiplier"), [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 2, 1), (7, 1, 3, 1), (3, 2, 1, 2)]
)
@pytest.mark.parametrize("extreme", [False, True])
def test_a_depthwise_convolution(channels: int, kernel: int, stride: int, pad: int, multiplier: int, extreme: bool):
    x = RNG.integers(0, 256, (2, channels, 9, 11), np.uint8)
    w = RNG.integers(-64, 64, (channels * multiplier, 1, kernel, kernel)).astype(np.int8)
    if extreme:
        x[0], x[1], w[::2], w[1::2] = 255, 0, 63, -64
    attributes = {"group": channels, "kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    assert_same_bits(convolution(x, w, **attributes), {"x": x})


def test_a_convolution_over_all_channels():
    x = RNG.integers(0, 256, (1, 6, 7, 7), np.uint8)
    w = RNG.integers(-64, 64, (10, 6, 3, 3)).astype(np.int8)
    assert_same_bits(convolution(x, w, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), {"x": x})


def test_one_that_no_quantization_follows_is_computed_op_by_op():
    x = RNG.integers(0, 256, (1, 3, 5, 5), np.uint8)
    w = RNG.integers(-64, 64, (3, 1, 3, 3)).astype(np.int8)
    proto = convolution(x, w, reader="Relu", group=3, kernel_shape=[3, 3])
    trace = Interpreter(proto).run({"x": x}, trace=True)
    assert trace["xf"].dtype == trace["yf"].dtype == np.float32
    assert np.array_equal(trace["y"], np.maximum(trace["yf"], 0))


def test_an_accumulator_that_leaves_int32_is_named():
    x = RNG.integers(0, 256, (1, 3, 5, 5), np.uint8)
    w = np.full((3, 1, 3, 3), 63, np.int8)
    proto = convolution(x, w, group=3, kernel_shape=[3, 3])
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "b")
    bias.raw_data = np.full(3, 2**31 - 1, np.int32).tobytes()
    with pytest.raises(InterpreterError, match="leaves int32"):
        Interpreter(proto).run({"x": np.full_like(x, 255)})
