"""QDQ graphs by hand, for what other runtimes make of them: a float graph, ranges, codes where a test wants them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

TYPES: dict[str, tuple[int, int, int]] = {
    "u4": (TensorProto.UINT4, 0, 15),
    "s4": (TensorProto.INT4, -8, 7),
    "u8": (TensorProto.UINT8, 0, 255),
    "s8": (TensorProto.INT8, -128, 127),
    "u16": (TensorProto.UINT16, 0, 65535),
    "s16": (TensorProto.INT16, -32768, 32767),
}
NUMPY = {"u8": np.uint8, "s8": np.int8, "u16": np.uint16, "s16": np.int16}
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Codes:
    """Codes of an activation.

    Attributes:
        type: a key of `TYPES`.
        symmetric: zero point in the middle (128, 32768, or 0 of signed types); else as the range asks.
        scale: of its own; None: from the range.
        zero: its zero point where it has a scale of its own.
    """

    type: str
    symmetric: bool = False
    scale: float | None = None
    zero: int = 0

    def parameters(self, low: float, high: float) -> tuple[float, int]:
        """Scale and zero point for a range."""
        if self.scale is not None:
            return self.scale, self.zero
        _, least, most = TYPES[self.type]
        low, high = min(low, 0.0), max(high, 1e-6)
        if self.symmetric:
            middle = (least + most + 1) // 2
            return max(-low, high) / (most - middle), middle
        scale = (high - low) / (most - least)
        return scale, round(least - low / scale)


@dataclass(frozen=True)
class Weights:
    """How constants are stored.

    Attributes:
        type: of weights, a key of `TYPES`; symmetric.
        per_channel: a scale an output channel.
        bias: `s32` (scale of input times that of weights) or `float`.
        norm: type of the scale of LayerNormalization, per tensor, its bias as `bias` says; `float` leaves both.
    """

    type: str = "s8"
    per_channel: bool = True
    bias: str = "s32"
    norm: str = "float"


Chosen = Callable[[str, str], Codes | None]
"""Codes of a tensor by its name and the op that makes it; None leaves it in float."""


class FloatGraph:
    """A float graph, node by node."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, value: Any, name: str | None = None) -> str:
        """A constant."""
        name = name or f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes: Any) -> Any:
        """A node; gives the name of its output, or of all of them."""
        name = name or f"{op.lower()}{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{number}" for number in range(outputs)]
        domain = attributes.pop("domain", "")
        self.nodes.append(helper.make_node(op, inputs, names, name=name, domain=domain, **attributes))
        return name if outputs == 1 else names

    def model(self, output: str, *, opset: int = 20, ir: int = 9) -> onnx.ModelProto:
        """The float model."""
        held = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        return _model(self.nodes, held, (self.shape, output), opset, ir)


def ranges(graph: FloatGraph, output: str, samples: np.ndarray) -> dict[str, tuple[float, float]]:
    """Least and largest value of every tensor."""
    model = graph.model(output)
    names = [name for node in model.graph.node for name in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = {"x": (float(samples.min()), float(samples.max()))}
    for sample in samples:
        for name, value in zip(names, session.run(names, {"x": sample.reshape(graph.shape)}), strict=True):
            if value.dtype == np.float32:
                low, high = found.get(name, (np.inf, -np.inf))
                found[name] = min(low, float(value.min())), max(high, float(value.max()))
    return found


def quantized(
    graph: FloatGraph,
    output: str,
    samples: np.ndarray,
    chosen: Chosen,
    *,
    weights: Weights | Callable[[str], Weights] = Weights(),
    recoded: Mapping[tuple[str, str], Codes] | None = None,
    opset: int = 20,
    ir: int = 9,
    domain: str = "",
) -> onnx.ModelProto:
    """The QDQ graph of a float graph.

    Args:
        graph: it.
        output: its output.
        samples: (count, ...) that give the ranges, an input each.
        chosen: codes of activations.
        weights: how constants are stored, of all nodes or by a node's name.
        recoded: other codes for what one node reads, by (tensor, node): a second Q/DQ pair behind the first.
        opset: of the ONNX domain.
        ir: version of the format.
        domain: of QuantizeLinear and DequantizeLinear.
    """
    return _Quantizer(graph, output, samples, chosen, weights, recoded or {}, domain).model(opset, ir)


class _Quantizer:
    def __init__(
        self,
        graph: FloatGraph,
        output: str,
        samples: np.ndarray,
        chosen: Chosen,
        weights: Weights | Callable[[str], Weights],
        recoded: Mapping[tuple[str, str], Codes],
        domain: str,
    ) -> None:
        self.graph, self.output, self.chosen, self.recoded, self.domain = graph, output, chosen, recoded, domain
        self.weights_of = weights if callable(weights) else lambda _name: weights
        self.ranges = ranges(graph, output, samples)
        self.nodes: list[onnx.NodeProto] = []
        self.held: dict[str, onnx.TensorProto] = {}
        self.read: dict[str, str] = {}  # tensor -> what readers take
        self.scales: dict[str, float] = {}

    def model(self, opset: int, ir: int) -> onnx.ModelProto:
        self._activation("x", "x", self.chosen("x", "Input"))
        for node in self.graph.nodes:
            inputs = [self._input(node, place, name) for place, name in enumerate(node.input)]
            coded = [self.chosen(name, node.op_type) for name in node.output]
            made = [f"{name}_f" if codes else name for name, codes in zip(node.output, coded, strict=True)]
            new = onnx.NodeProto()
            new.CopyFrom(node)
            del new.input[:], new.output[:]
            new.input.extend(inputs)
            new.output.extend(made)
            self.nodes.append(new)
            for name, raw, codes in zip(node.output, made, coded, strict=True):
                self._activation(name, raw, codes)
        self.nodes.append(helper.make_node("Identity", [self.read[self.output]], ["y"]))
        # The last DequantizeLinear gives the output itself.
        self.nodes.pop()
        for node in self.nodes:
            for place, name in enumerate(node.output):
                if name == self.read[self.output]:
                    node.output[place] = "y"
            for place, name in enumerate(node.input):
                if name == self.read[self.output]:
                    node.input[place] = "y"
        return _model(self.nodes, list(self.held.values()), (self.graph.shape, "y"), opset, ir)

    def _activation(self, name: str, raw: str, codes: Codes | None) -> None:
        if codes is None:
            self.read[name] = raw
            return
        scale, zero = codes.parameters(*self.ranges[name])
        self.scales[name] = float(np.float32(scale))
        self.read[name] = self._pair(raw, f"{name}_q", f"{name}_dq", codes.type, scale, zero)

    def _pair(self, raw: str, code: str, back: str, kind: str, scale: float, zero: int) -> str:
        parameters = self._parameters(code, kind, np.float32(scale), np.array(zero, NUMPY[kind]))
        self.nodes.append(helper.make_node("QuantizeLinear", [raw, *parameters], [code], domain=self.domain))
        self.nodes.append(helper.make_node("DequantizeLinear", [code, *parameters], [back], domain=self.domain))
        return back

    def _parameters(self, name: str, kind: str, scale: Any, zero: np.ndarray) -> list[str]:
        self.held[f"{name}_s"] = numpy_helper.from_array(np.asarray(scale, np.float32), f"{name}_s")
        dtype, _, _ = TYPES[kind]
        zeros = helper.make_tensor(f"{name}_z", dtype, zero.shape, zero.ravel().tolist())
        self.held[f"{name}_z"] = zeros
        return [f"{name}_s", f"{name}_z"]

    def _input(self, node: onnx.NodeProto, place: int, name: str) -> str:
        if name not in self.graph.constants:
            other = self.recoded.get((name, node.name))
            if other is None:
                return self.read[name]
            scale, zero = other.parameters(*self.ranges[name])
            base = f"{name}_for_{node.name}"
            return self._pair(self.read[name], f"{base}_q", f"{base}_dq", other.type, scale, zero)
        value, how = self.graph.constants[name], self.weights_of(node.name)
        if node.op_type in {"Gemm", "MatMul", "Conv"} and place == 1:
            return self._weight(name, value, how, 0 if node.op_type == "Conv" else value.ndim - 1)
        norm = node.op_type == "LayerNormalization" and how.norm != "float"
        if norm and place == 1:
            return self._tensor(name, value, how.norm)
        if (norm or node.op_type in {"Gemm", "Conv"}) and place == 2:
            return self._bias(name, value, how, node)
        if value.dtype == np.float32 and node.op_type in {"Add", "Mul", "Concat", "Sub", "Div"}:
            codes = self.chosen(name, "Constant")
            return self._float(name, value) if codes is None else self._tensor(name, value, codes.type)
        return self._float(name, value)

    def _float(self, name: str, value: np.ndarray) -> str:
        self.held[name] = numpy_helper.from_array(value, name)
        return name

    def _tensor(self, name: str, value: np.ndarray, kind: str) -> str:
        _, least, most = TYPES[kind]
        codes = Codes(kind, symmetric=kind[0] == "s")
        scale, zero = codes.parameters(float(value.min()), float(value.max()))
        self.scales[name] = float(np.float32(scale))
        held = np.clip(np.rint(value / np.float32(scale)) + zero, least, most)
        return self._stored(name, held, kind, np.float32(scale), np.array(zero))

    def _weight(self, name: str, value: np.ndarray, how: Weights, axis: int) -> str:
        _, least, most = TYPES[how.type]
        others = tuple(place for place in range(value.ndim) if place != axis)
        largest = np.abs(value).max(others) if how.per_channel else np.abs(value).max()
        scale = np.maximum(largest, 1e-6).astype(np.float32) / np.float32(most if least < 0 else most // 2)
        middle = 0 if least < 0 else (most + 1) // 2
        shape = [-1 if place == axis else 1 for place in range(value.ndim)]
        spread = scale.reshape(shape) if how.per_channel else scale
        held = np.clip(np.rint(value / spread) + middle, least + (least < 0), most)
        self.scales[name] = scale
        return self._stored(name, held, how.type, scale, np.full(scale.shape, middle), axis)

    def _bias(self, name: str, value: np.ndarray, how: Weights, node: onnx.NodeProto) -> str:
        source, weight = node.input[0], node.input[1]
        if how.bias == "float" or source not in self.scales:
            return self._float(name, value)
        scale = np.float32(self.scales[source]) * np.asarray(self.scales[weight], np.float32)
        codes = np.rint(value.astype(np.float64) / scale).astype(np.int32)
        self.held[f"{name}_c"] = numpy_helper.from_array(codes, f"{name}_c")
        self.held[f"{name}_s"] = numpy_helper.from_array(np.asarray(scale, np.float32), f"{name}_s")
        attributes = {"axis": 0} if np.ndim(scale) else {}
        self.nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}_c", f"{name}_s"], [f"{name}_dq"], **attributes)
        )
        return f"{name}_dq"

    def _stored(
        self, name: str, codes: np.ndarray, kind: str, scale: Any, zero: np.ndarray, axis: int | None = None
    ) -> str:
        if f"{name}_dq" not in {output for node in self.nodes for output in node.output}:
            dtype, _, _ = TYPES[kind]
            values = codes.astype(np.int64).ravel().tolist()
            self.held[f"{name}_c"] = helper.make_tensor(f"{name}_c", dtype, codes.shape, values)
            parameters = self._parameters(name, kind, scale, zero.astype(np.int64))
            attributes = {"axis": axis} if axis is not None and np.ndim(scale) else {}
            inputs = [f"{name}_c", *parameters]
            self.nodes.append(
                helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], domain=self.domain, **attributes)
            )
        return f"{name}_dq"


def _model(
    nodes: list[onnx.NodeProto],
    held: list[onnx.TensorProto],
    ends: tuple[tuple[int, ...], str],
    opset: int,
    ir: int,
) -> onnx.ModelProto:
    shape, output = ends
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        held,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model."""
    onnx.save(model, path)
    return path
