"""A segmentation that is right: the class of a place is its colour, as ONNX and in torch."""

import json
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper

from mptq_export.data.preprocessing import Preprocessing

SIZE = 8
CLASSES = 3
HOW = Preprocessing((3, SIZE, SIZE), (0.0,) * 3, (1.0,) * 3, "bilinear", 1.0, "squash")


class ColourMap(torch.nn.Module):
    """(B, 3, 8, 8) as it is, or as if all of it were of class 0."""

    def __init__(self, blind: bool = False) -> None:
        super().__init__()
        self.seen = torch.nn.Parameter(torch.zeros(1) if blind else torch.ones(1), requires_grad=False)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"classes": x * self.seen}


def right() -> ColourMap:
    """For `colour_map:right`."""
    return ColourMap()


def blind() -> ColourMap:
    """For `colour_map:blind`."""
    return ColourMap(blind=True)


def map_file(path: Path, *, halved: bool = False) -> Path:
    """The map as an ONNX file; halved: of half the size, each value the mean of four."""
    op, options = ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}) if halved else ("Identity", {})
    side = SIZE // 2 if halved else SIZE
    graph = helper.make_graph(
        [helper.make_node(op, ["input"], ["classes"], **options)],
        "colour map",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["n", CLASSES, side, side])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    outputs = json.dumps([{"output": "classes", "kind": "map"}])
    helper.set_model_props(made, {**HOW.to_metadata(), "mptq.outputs": outputs})
    onnx.save(made, path)
    return path
