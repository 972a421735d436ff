"""A small vision transformer with random weights as a float graph, and its codes as HTP computes them in integers."""

from typing import Any

import numpy as np

from tests.qdq_graphs import Codes, FloatGraph, Weights, quantized

IMAGES = np.random.default_rng(1).standard_normal((12, 3, 16, 16)).astype(np.float32)
TOKENS, CHANNELS, HEADS, CLASSES = 17, 32, 2, 10

U8, S8 = Codes("u8"), Codes("s8", symmetric=True)
U16 = Codes("u16")
PROBABILITY = Codes("u8", scale=1 / 255)


def vit() -> tuple[FloatGraph, str]:
    """Patches of 4x4, a class token, one block, the head on the class token: the graph and its output."""
    return _Vit().graph, "head"


class _Vit:
    def __init__(self) -> None:
        self.graph = FloatGraph((1, 3, 16, 16))
        self.random = np.random.default_rng(0)
        add, d = self.graph.add, CHANNELS // HEADS
        kernel, bias = self._normal(CHANNELS, 3, 4, 4, scale=1 / 7), self._normal(CHANNELS, scale=0.1)
        x = add("Conv", "x", kernel, bias, name="patch", kernel_shape=[4, 4], strides=[4, 4])
        x = self._reshape(x, 1, CHANNELS, TOKENS - 1)
        x = add("Transpose", x, perm=[0, 2, 1])
        x = add("Concat", self._normal(1, 1, CHANNELS), x, axis=1, name="tokens")
        stream = add("Add", x, self._normal(1, TOKENS, CHANNELS, scale=0.5), name="embedded")
        x = self._linear(self._norm(stream, "norm1"), CHANNELS, 3 * CHANNELS, "qkv")
        x = add("Transpose", self._reshape(x, 1, TOKENS, 3, HEADS, d), perm=[2, 0, 3, 1, 4])
        parts = add("Split", x, self._integers(1, 1, 1), axis=0, outputs=3)
        q, k, v = (add("Squeeze", part, self._integers(0)) for part in parts)
        scores = add("MatMul", q, add("Transpose", k, perm=[0, 1, 3, 2], name="k"), name="scores")
        x = add("MatMul", add("Softmax", scores, axis=-1, name="softmax"), v, name="context")
        x = self._reshape(add("Transpose", x, perm=[0, 2, 1, 3]), TOKENS, CHANNELS)
        x = self._linear(x, CHANNELS, CHANNELS, "proj")
        stream = add("Add", stream, self._reshape(x, 1, TOKENS, CHANNELS, name="attended"), name="stream1")
        x = add("Gelu", self._linear(self._norm(stream, "norm2"), CHANNELS, 2 * CHANNELS, "fc1"), name="gelu")
        x = self._reshape(self._linear(x, 2 * CHANNELS, CHANNELS, "fc2"), 1, TOKENS, CHANNELS, name="mixed")
        stream = add("Add", stream, x, name="stream2")
        x = self._norm(stream, "norm3", flat=False)
        x = add("Slice", x, *(self._integers(n) for n in (0, 1, 1)), name="pooled")
        self._linear(self._reshape(x, 1, CHANNELS, name="pooled2"), CHANNELS, CLASSES, "head")

    def _normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> str:
        return self.graph.constant((mean + scale * self.random.standard_normal(shape)).astype(np.float32))

    def _integers(self, *values: int) -> str:
        return self.graph.constant(np.array(values))

    def _reshape(self, x: str, *shape: int, name: str | None = None) -> str:
        made: str = self.graph.add("Reshape", x, self._integers(*shape), name=name)
        return made

    def _linear(self, x: str, inputs: int, outputs: int, name: str) -> str:
        weight = self._normal(inputs, outputs, scale=inputs**-0.5)
        made: str = self.graph.add("Gemm", x, weight, self._normal(outputs, scale=0.1), name=name)
        return made

    def _norm(self, x: str, name: str, *, flat: bool = True) -> str:
        scale, bias = self._normal(CHANNELS, scale=0.2, mean=1.0), self._normal(CHANNELS, scale=0.1)
        x = self.graph.add("LayerNormalization", x, scale, bias, axis=-1, name=name)
        return self._reshape(x, TOKENS, CHANNELS, name=f"{name}_flat") if flat else x


def u8_vit(softmax: Codes = PROBABILITY, **how: Any) -> Any:
    """u8 everywhere, unless `softmax` says otherwise: whole and in integers on HTP."""
    graph, output = vit()
    how = {"weights": Weights(norm="u8"), "opset": 21, "ir": 10, **how}
    return quantized(graph, output, IMAGES, lambda _name, op: softmax if op == "Softmax" else U8, **how)


def s8_vit(softmax: Codes) -> Any:
    """s8 everywhere; whole on HTP, and wrong with softmax codes around 0."""
    graph, output = vit()
    weights = Weights(norm="s8")
    return quantized(
        graph, output, IMAGES, lambda _name, op: softmax if op == "Softmax" else S8, weights=weights, opset=21, ir=10
    )


#: What is u16 in the form with a finer residual stream.
_STREAM = {
    "x",
    "patch",
    "tokens",
    "embedded",
    "stream1",
    "stream2",
    "norm1",
    "norm2",
    "norm3",
    "pooled",
    "pooled2",
    "head",
}


def u16_stream_vit() -> Any:
    """u8, with a u16 residual stream; between the widths a second pair of Q and DQ, which becomes QNN's Convert."""
    graph, output = vit()
    embedding = {node.output[0] for node in graph.nodes[: [node.name for node in graph.nodes].index("embedded")]}

    def codes(name: str, op: str) -> Codes:
        if op == "Softmax":
            return PROBABILITY
        return U16 if name in _STREAM | embedding or op == "Constant" else U8

    recoded = {
        ("norm1", "norm1_flat"): U8,
        ("norm2", "norm2_flat"): U8,
        ("attended", "stream1"): U16,
        ("mixed", "stream2"): U16,
    }
    return quantized(graph, output, IMAGES, codes, weights=Weights(norm="u8"), recoded=recoded, opset=21, ir=10)
