"""ONNX files that are given to a checker which promises more than it can hold."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .feeding import DIGITS
from .table import Command, Mistake

FLOAT = TensorProto.FLOAT


def stored(folder: Path, nodes: list[onnx.NodeProto], size: int = 64, **constants: np.ndarray) -> Command:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", size])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "f.onnx")
    return ["verify", folder / "f.onnx"]


def single(op: str, size: int = 64) -> Callable[[Path], Command]:
    return lambda folder: stored(folder, [helper.make_node(op, ["x"], ["y"])], size)


def scaled_down(folder: Path) -> Command:
    """A matmul of floats: its sums may be added in any order."""
    weight = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    return stored(folder, [helper.make_node("MatMul", ["x", "w"], ["y"])], w=weight)


def frozen(folder: Path) -> Command:
    """Rows of two images are mixed, whatever the batch is."""
    nodes = [
        helper.make_node("ReduceMax", ["x", "axes"], ["most"], keepdims=1),
        helper.make_node("Sub", ["x", "most"], ["y"]),
    ]
    return stored(folder, nodes, axes=np.array([0], np.int64))


def empty(folder: Path) -> Command:
    """No value of any input reaches the output."""
    ends = {name: np.array([end], np.int64) for name, end in (("start", 5), ("end", 5), ("axis", 1))}
    return stored(folder, [helper.make_node("Slice", ["x", *ends], ["y"])], **ends)


def edited(folder: Path) -> Command:
    """A file whose weights were changed after it was proved."""
    model = onnx.load(folder / "digits.onnx")
    weight = next(t for t in model.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) == 2)
    codes = numpy_helper.to_array(weight).copy()
    codes[0] = -codes[0]
    weight.CopyFrom(numpy_helper.from_array(codes, weight.name))
    onnx.save(model, folder / "digits.onnx")
    return ["verify", folder / "digits.onnx", "--random", 1]


def reported_over(name: str, *command: str) -> Callable[[Path], Command]:
    """The report would replace what the command reads."""

    def feed(folder: Path) -> Command:
        shutil.copy(DIGITS / "digits_vit.pt", folder / "float.pt")
        given = [folder / word if (folder / word).exists() else word for word in command]
        return [*given, "--json", folder / name]

    return feed


FILES = (
    Mistake(
        "a report over the file",
        reported_over("digits.onnx", "verify", "digits.onnx"),
        "refused",
        ("--json", "replace"),
    ),
    Mistake(
        "a report over the float model",
        reported_over("float.pt", "eval", "digits.onnx", "--data", str(DIGITS / "val"), "--float", "float.pt"),
        "refused",
        ("--json", "replace"),
    ),
    Mistake("a softmax that claims nothing", single("Softmax"), "refused", ("made by Softmax; ",)),
    Mistake("a float matmul that claims nothing", scaled_down, "refused", ("MatMul",)),
    Mistake("a file of no values", empty, "refused", ("nothing to compare",)),
    Mistake("results that depend on the batch", frozen, "refused", ("depends on the batch",)),
    Mistake("a file that was edited", edited, "refused", ("NOT AS WRITTEN",)),
)
