"""A detector that is right: of every channel of a picture the box around what is bright, as ONNX and in torch.

Three classes, red, green and blue, a query each: `logits` [B, 3, 4] and `pred_boxes` [B, 3, 4], as DETR has them.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.recipe.detector import DETECTOR_KEY, Detector, Selection, detector_text

SIZE = 32
NAMES = ("red", "green", "blue")
BRIGHT = 0.6
DETECTOR = Detector("set", "network", (SIZE, SIZE), 3, NAMES, Selection(0.05, 0, 1.0, 10))
HOW = Preprocessing((3, SIZE, SIZE), (0.5,) * 3, (0.5,) * 3, "nearest", 1.0, "corner")
_OUTPUTS = [{"output": "logits", "kind": "choices"}, {"output": "pred_boxes", "kind": "boxes"}]

Rectangle = tuple[str, tuple[int, int, int, int]]
"""A colour, and x, y, width, height."""


class ColourBoxes(torch.nn.Module):
    """The same in torch.

    Args:
        wider: how many pixels boxes are too wide on the right side.
    """

    def __init__(self, wider: float = 0.0) -> None:
        super().__init__()
        self.wider = torch.nn.Parameter(torch.tensor(wider), requires_grad=False)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        bright = (x > BRIGHT).to(torch.float32)
        there = bright.amax((2, 3))[:, :, None]
        ends = []
        for axis in (2, 3):
            profile = bright.amax(axis)
            first = profile.argmax(2).to(torch.float32)
            last = SIZE - profile.flip(2).argmax(2).to(torch.float32)
            ends.append((first, last + self.wider if axis == 2 else last))
        (x1, x2), (y1, y2) = ends
        boxes = torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), 2) / SIZE
        classes = 20 * there * torch.eye(3) - 10
        return {"logits": torch.cat((classes, torch.zeros_like(there)), 2), "pred_boxes": boxes}


def right() -> ColourBoxes:
    """For `colour_boxes:right`."""
    return ColourBoxes()


def wide() -> ColourBoxes:
    """For `colour_boxes:wide`: boxes are two pixels too wide."""
    return ColourBoxes(2.0)


def detector_file(path: Path, wider: float = 0.0, how: Preprocessing = HOW, **changed: Any) -> Path:
    """The detector as an ONNX file, with a description that may be changed."""
    constants = {
        "bright": np.float32(BRIGHT),
        "size": np.float32(SIZE),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "wider": np.float32(1 + wider),
        "eye": 20 * np.eye(3, dtype=np.float32)[None],
        "ten": np.float32(10),
        "last_axis": np.array([2], np.int64),
        "rows": np.array([2], np.int64),
        "columns": np.array([3], np.int64),
        "both": np.array([2, 3], np.int64),
    }
    nodes = [
        helper.make_node("Greater", ["input", "bright"], ["b"]),
        helper.make_node("Cast", ["b"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["x", "both"], ["there"], keepdims=0),
        helper.make_node("Unsqueeze", ["there", "last_axis"], ["there3"]),
        helper.make_node("Mul", ["there3", "eye"], ["scored"]),
        helper.make_node("Sub", ["scored", "ten"], ["classes"]),
        helper.make_node("Sub", ["there3", "there3"], ["none"]),
        helper.make_node("Concat", ["classes", "none"], ["logits"], axis=2),
    ]
    for name, axis, beyond in (("x", "rows", "wider"), ("y", "columns", "one")):
        nodes += [
            helper.make_node("ReduceMax", ["x", axis], [f"p{name}"], keepdims=0),
            helper.make_node("ArgMax", [f"p{name}"], [f"f{name}"], axis=2, keepdims=1),
            helper.make_node("ArgMax", [f"p{name}"], [f"l{name}"], axis=2, keepdims=1, select_last_index=1),
            helper.make_node("Cast", [f"f{name}"], [f"first{name}"], to=TensorProto.FLOAT),
            helper.make_node("Cast", [f"l{name}"], [f"at{name}"], to=TensorProto.FLOAT),
            helper.make_node("Add", [f"at{name}", beyond], [f"last{name}"]),
            helper.make_node("Add", [f"first{name}", f"last{name}"], [f"sum{name}"]),
            helper.make_node("Mul", [f"sum{name}", "half"], [f"centre{name}"]),
            helper.make_node("Sub", [f"last{name}", f"first{name}"], [f"side{name}"]),
        ]
    nodes += [
        helper.make_node("Concat", ["centrex", "centrey", "sidex", "sidey"], ["pixels"], axis=2),
        helper.make_node("Div", ["pixels", "size"], ["pred_boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colour boxes",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 4]) for name in ("logits", "pred_boxes")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    described = {DETECTOR_KEY: detector_text(replace(DETECTOR, **changed)), "mptq.outputs": json.dumps(_OUTPUTS)}
    helper.set_model_props(made, {**how.to_metadata(), **described})
    onnx.save(made, path)
    return path


def colour_folder(
    path: Path, pictures: list[list[Rectangle]], scale: int = 2, size: tuple[int, int] = (32, 24), **said: Any
) -> Path:
    """A folder in COCO's format: rectangles on black, given in pixels of the model's input.

    Args:
        path: of the folder.
        pictures: the rectangles on each.
        scale: pixels of the pictures by pixels of the input.
        size: (width, height) of the pictures, in pixels of the input.
        said: other parts of the annotations.
    """
    path.mkdir(parents=True, exist_ok=True)
    width, height = (scale * edge for edge in size)
    images, objects = [], []
    for number, rectangles in enumerate(pictures):
        pixels = np.zeros((height, width, 3), np.uint8)
        for colour, rectangle in rectangles:
            x, y, w, h = (scale * edge for edge in rectangle)
            pixels[y : y + h, x : x + w, NAMES.index(colour)] = 255
            objects.append(
                {
                    "id": len(objects),
                    "image_id": number,
                    "category_id": 10 + NAMES.index(colour),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        Image.fromarray(pixels).save(path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
    categories = [{"id": 10 + number, "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "annotations": objects, "categories": categories, **said}
    (path / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return path
