"""Small float models (MLP, CNN, attention) for onnxruntime's quantizer; seeded, and quick to run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
OPSET = 21


class _Graph:
    """Nodes and seeded weights of one model."""

    def __init__(self, name: str, shape: tuple[int | str, ...], seed: int = 0) -> None:
        self._name, self._shape = name, shape
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; its first output."""
        label = f"{kind.lower()}_{len(self._nodes)}"
        names = [label if i == 0 else f"{label}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, label, **attributes))
        return label

    def weight(self, *shape: int, scale: float | None = None) -> str:
        """A normal weight whose products keep their size."""
        fan_in = int(np.prod(shape[1:] if len(shape) == 4 else shape[:-1])) if len(shape) > 1 else 1
        spread = fan_in**-0.5 if scale is None else scale
        return self.constant((self._rng.standard_normal(shape) * spread).astype(np.float32))

    def constant(self, value: NDArray[np.generic] | np.generic) -> str:
        """An initializer of this value."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def gemm(self, x: str, k: int, n: int) -> str:
        """A biased Gemm."""
        return self.op("Gemm", x, self.weight(k, n), self.weight(n, scale=0.1))

    def linear(self, x: str, k: int, n: int) -> str:
        """MatMul and Add, as PyTorch writes a linear layer of three axes."""
        return self.op("Add", self.op("MatMul", x, self.weight(k, n)), self.weight(n, scale=0.1))

    def conv(self, x: str, c: int, m: int, kernel: int, *, bias: bool = True, **attributes: Any) -> str:
        """A convolution that keeps the size unless told otherwise."""
        group = attributes.get("group", 1)
        assert isinstance(group, int)
        inputs = [x, self.weight(m, c // group, kernel, kernel)] + ([self.weight(m, scale=0.1)] if bias else [])
        side = kernel // 2
        return self.op("Conv", *inputs, kernel_shape=[kernel, kernel], pads=[side] * 4, **attributes)

    def norm(self, x: str, n: int) -> str:
        """LayerNormalization of the last axis."""
        scale = self.constant((1 + 0.1 * self._rng.standard_normal(n)).astype(np.float32))
        return self.op("LayerNormalization", x, scale, self.weight(n, scale=0.1), axis=-1)

    def heads(self, x: str, tokens: int, heads: int, width: int, perm: list[int]) -> str:
        """(B, tokens, heads width) to one matrix a head."""
        shape = self.constant(np.array([0, tokens, heads, width], np.int64))
        return self.op("Transpose", self.op("Reshape", x, shape), perm=perm)

    def attention(self, x: str, tokens: int, width: int, heads: int, *, scaled: bool = True) -> str:
        """Self attention with a projection."""
        each = width // heads
        q = self.heads(self.linear(x, width, width), tokens, heads, each, [0, 2, 1, 3])
        k = self.heads(self.linear(x, width, width), tokens, heads, each, [0, 2, 3, 1])
        v = self.heads(self.linear(x, width, width), tokens, heads, each, [0, 2, 1, 3])
        if scaled:
            q = self.op("Mul", q, self.constant(np.asarray(each**-0.5, np.float32)))
        p = self.op("Softmax", self.op("MatMul", q, k), axis=-1)
        y = self.op("Transpose", self.op("MatMul", p, v), perm=[0, 2, 1, 3])
        flat = self.op("Reshape", y, self.constant(np.array([0, tokens, width], np.int64)))
        return self.linear(flat, width, width)

    def model(self, output: str, shape: tuple[int | str, ...]) -> onnx.ModelProto:
        """The model with this output."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, self._shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            self._weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        onnx.checker.check_model(made, full_check=True)
        return made


def _mlp_gemm() -> onnx.ModelProto:
    g = _Graph("mlp_gemm", ("batch", 32))
    x = g.op("Relu", g.gemm("input", 32, 48))
    x = g.op("Relu", g.gemm(x, 48, 40))
    return g.model(g.gemm(x, 40, 10), ("batch", 10))


def _mlp_matmul() -> onnx.ModelProto:
    g = _Graph("mlp_matmul", ("batch", 6, 32), 1)
    x = g.op("Relu", g.linear("input", 32, 48))
    x = g.op("MatMul", x, g.weight(48, 24))
    return g.model(g.linear(x, 24, 10), ("batch", 6, 10))


def _mlp_sigmoid() -> onnx.ModelProto:
    g = _Graph("mlp_sigmoid", ("batch", 32), 2)
    x = g.op("Sigmoid", g.gemm("input", 32, 48))
    x = g.op("LeakyRelu", g.gemm(x, 48, 40), alpha=0.1)
    x = g.op("Clip", g.gemm(x, 40, 24), g.constant(np.float32(0)), g.constant(np.float32(6)))
    return g.model(g.gemm(x, 24, 10), ("batch", 10))


def _mlp_gated() -> onnx.ModelProto:
    g = _Graph("mlp_gated", ("batch", 32), 3)
    x = g.gemm("input", 32, 48)
    gate = g.op("Sigmoid", g.gemm("input", 32, 48))
    x = g.op("Mul", x, gate)
    y = g.op("Concat", x, g.op("Relu", g.gemm(x, 48, 16)), axis=1)
    return g.model(g.op("Softmax", g.gemm(y, 64, 10), axis=-1), ("batch", 10))


def _cnn() -> onnx.ModelProto:
    g = _Graph("cnn", ("batch", 3, 12, 12), 4)
    x = g.op("Relu", g.conv("input", 3, 16, 3))
    x = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Relu", g.conv(x, 16, 24, 3, bias=False, strides=[2, 2]))
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    return g.model(g.gemm(x, 24, 10), ("batch", 10))


def _cnn_depthwise() -> onnx.ModelProto:
    g = _Graph("cnn_depthwise", ("batch", 3, 12, 12), 5)
    zero, six = g.constant(np.float32(0)), g.constant(np.float32(6))
    x = g.op("Clip", g.conv("input", 3, 16, 3, strides=[2, 2]), zero, six)
    x = g.op("Clip", g.conv(x, 16, 16, 3, group=16), zero, six)
    x = g.conv(x, 16, 24, 1)
    x = g.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Flatten", x)
    return g.model(g.gemm(x, 24 * 9, 10), ("batch", 10))


def _cnn_residual() -> onnx.ModelProto:
    g = _Graph("cnn_residual", ("batch", 4, 8, 8), 6)
    x = g.op("Relu", g.conv("input", 4, 16, 3))
    y = g.conv(g.op("Relu", g.conv(x, 16, 16, 3)), 16, 16, 3)
    x = g.op("Relu", g.op("Add", x, y))
    x = g.op("Concat", x, g.conv(x, 16, 8, 1), axis=1)
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    return g.model(g.gemm(x, 24, 10), ("batch", 10))


def _cnn_attended() -> onnx.ModelProto:
    g = _Graph("cnn_attended", ("batch", 4, 8, 8), 7)
    x = g.op("Relu", g.conv("input", 4, 16, 3))
    squeezed = g.op("Relu", g.conv(g.op("GlobalAveragePool", x), 16, 8, 1))
    x = g.op("Mul", x, g.op("Sigmoid", g.conv(squeezed, 8, 16, 1)))
    x = g.conv(x, 16, 16, 3, group=4)
    tokens = g.op("Transpose", g.op("Reshape", x, g.constant(np.array([0, 16, 64], np.int64))), perm=[0, 2, 1])
    return g.model(g.linear(tokens, 16, 10), ("batch", 64, 10))


def _attention() -> onnx.ModelProto:
    g = _Graph("attention", ("batch", 6, 32), 8)
    return g.model(g.attention("input", 6, 32, 4), ("batch", 6, 32))


def _attention_residual() -> onnx.ModelProto:
    g = _Graph("attention_residual", ("batch", 6, 32), 9)
    x = g.op("Add", "input", g.attention("input", 6, 32, 2, scaled=False))
    y = g.linear(g.op("Relu", g.linear(x, 32, 48)), 48, 32)
    return g.model(g.op("Add", x, y), ("batch", 6, 32))


def _transformer() -> onnx.ModelProto:
    g = _Graph("transformer", ("batch", 6, 32), 10)
    x = g.op("Add", "input", g.attention(g.norm("input", 32), 6, 32, 4))
    y = g.op("Gelu", g.linear(g.norm(x, 32), 32, 48))
    x = g.op("Add", x, g.linear(y, 48, 32))
    pooled = g.op("ReduceMean", x, g.constant(np.array([1], np.int64)), keepdims=0)
    return g.model(g.gemm(pooled, 32, 10), ("batch", 10))


def _vision() -> onnx.ModelProto:
    g = _Graph("vision", ("batch", 3, 8, 8), 11)
    x = g.op("Conv", "input", g.weight(32, 3, 4, 4), g.weight(32, scale=0.1), kernel_shape=[4, 4], strides=[4, 4])
    x = g.op("Transpose", g.op("Reshape", x, g.constant(np.array([0, 32, 4], np.int64))), perm=[0, 2, 1])
    x = g.op("Add", x, g.weight(1, 4, 32, scale=0.2))
    x = g.op("Add", x, g.attention(x, 4, 32, 4))
    first = g.op("Gather", x, g.constant(np.asarray(0, np.int64)), axis=1)
    return g.model(g.gemm(first, 32, 10), ("batch", 10))


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    build.__name__.lstrip("_"): build
    for build in (
        _mlp_gemm,
        _mlp_matmul,
        _mlp_sigmoid,
        _mlp_gated,
        _cnn,
        _cnn_depthwise,
        _cnn_residual,
        _cnn_attended,
        _attention,
        _attention_residual,
        _transformer,
        _vision,
    )
}
