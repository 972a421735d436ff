"""The emission and data movement know no form: here they carry one of plain floats, with a table of three ops."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
import torch

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Input, Linear, Mul, Op, Outputs, Permute, Product, Reshape, Slice, Softmax
from mptq_export.emit.emission import Emission
from mptq_export.emit.movement import move
from mptq_export.emit.value import Value
from mptq_export.recipe.outputs import Output
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError


class Plain(Value):
    suffix: ClassVar[str] = "f32"
    dtype: ClassVar[type[np.generic]] = np.float32


class PlainEmission(Emission):
    def read(self, value: str) -> Plain:
        root, chain = self.graph.path(value)
        emit = self.handler(TABLE, root, "float values")
        return move(self, self.once(root.name, lambda: emit(self, root)), root, chain)

    def read_output(self, value: str) -> Plain:
        return self.read(value)


def emit_input(_emission: PlainEmission, _node: Node) -> Plain:
    return Plain(tensor="input", flat=False)


def emit_linear(emission: PlainEmission, node: Node) -> Plain:
    x = emission.flatten(emission.read(node.inputs[0]), node.inputs[0])
    weight, bias = (
        emission.onnx.constant(f"{node.name}.{key}", node.params[key].numpy()) for key in ("weight", "bias")
    )
    return Plain(tensor=emission.onnx.one("Gemm", [x.tensor, weight, bias], node.name, transB=1), flat=True)


def emit_product(emission: PlainEmission, node: Node) -> Plain:
    a, b = (emission.unflatten(emission.read(name), name) for name in node.inputs)
    return Plain(tensor=emission.onnx.one("Mul", [a.tensor, b.tensor], node.name), flat=False)


TABLE: dict[type[Op], Callable[[PlainEmission, Node], Plain]] = {
    Input: emit_input,
    Linear: emit_linear,
    Product: emit_product,
}

TOKENS, WIDTH = 6, 8


def gate(last: Op | None = None) -> Graph:
    """Both halves of a layer's channels multiplied, then moved; `last` computes the output from that."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(2 * WIDTH, 3, generator=generator), torch.randn(2 * WIDTH, generator=generator)
    image, rows, half = Shape((1, 3, 2, 3)), Shape((1, 2, 3, 3)), Shape((1, 2, 3, WIDTH))
    nodes = [
        Node(Input(), "input", (), image),
        Node(Permute((0, 2, 3, 1)), "rows", ("input",), rows),
        Node(Linear(), "fc", ("rows",), Shape((1, 2, 3, 2 * WIDTH)), {"weight": weight, "bias": bias}),
        Node(Slice(3, 0, WIDTH), "first", ("fc",), half),
        Node(Slice(3, WIDTH, 2 * WIDTH), "second", ("fc",), half),
        Node(Product(), "gated", ("first", "second"), half),
        Node(Reshape(), "tokens", ("gated",), Shape((1, TOKENS, WIDTH))),
    ]
    if last is not None:
        nodes.append(Node(last, "last", ("tokens",), nodes[-1].shape))
    return Graph(nodes, nodes[-1].name)


def test_another_form_is_another_table(tmp_path: Path):
    graph, x = gate(), torch.randn(3, 3, 2, 3)
    model = PlainEmission(graph, "float32").finish("1")
    assert [node.op_type for node in model.graph.node].count("Gemm") == 1  # both slices read the same one
    assert [node.op_type for node in model.graph.node].count("Split") == 1
    onnx.save(model, tmp_path / "m.onnx")
    (got,) = open_session(tmp_path / "m.onnx").run(["logits"], {"input": x.numpy()})
    assert np.allclose(got, evaluate(graph, x).numpy(), atol=1e-5)


def test_outputs_have_the_names_of_their_maps_and_an_input_can_be_one():
    graph = gate()
    given = (Output("image", "map"), Output("tokens", "tokens"))
    maps = Node(
        Outputs(given),
        "maps",
        ("input", "tokens"),
        Shape((1, 18 + TOKENS * WIDTH)),
    )
    model = PlainEmission(Graph([*graph, maps], "maps"), "float32").finish("1")
    assert [output.name for output in model.graph.output] == ["image", "tokens"]
    assert [node.op_type for node in model.graph.node if "image" in node.output] == ["Identity"]


@pytest.mark.parametrize(("op", "name"), [(Softmax(), "softmax"), (Mul(), "mul")])
def test_what_the_table_lacks_is_refused_by_name(op: Op, name: str):
    with pytest.raises(MptqError, match=f"^last: a {name} is read where float values are needed; this form is not"):
        PlainEmission(gate(op), "float32").finish("1")
