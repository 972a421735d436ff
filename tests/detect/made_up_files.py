"""Files of detectors in which no network is: every output is a constant times 1 and the mean of the input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.detect.layout import input_shape
from mptq_export.detect.parts import part_path
from mptq_export.recipe.detector import DETECTOR_KEY, FIRST_KEY, Detector, Part, detector_text
from mptq_export.recipe.onnx_contents import CONTENTS_KEY
from tests.detect.described import outputs

CHANNELS = 8


def preprocessing(detector: Detector, crop_mode: str = "corner") -> Preprocessing:
    return Preprocessing((3, *detector.image), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bilinear", 1.0, crop_mode)


def constants(detector: Detector, seed: int = 5) -> dict[str, NDArray[np.float32]]:
    """[1, ...] what each output of a part is for an input whose mean is 0."""
    draw = np.random.default_rng(seed)
    if detector.part == "box":
        return {
            "scores": 2 * draw.normal(size=(1, detector.classes + 1)).astype(np.float32),
            "deltas": draw.normal(size=(1, 4 * (detector.classes + 1))).astype(np.float32),
        }
    if detector.part == "mask":
        return {"masks": 3 * draw.normal(size=(1, detector.classes + 1, 28, 28)).astype(np.float32)}
    found = outputs(detector, 1, seed, CHANNELS)
    return {**found, "last_hidden_state": draw.normal(size=(1, 4, 7)).astype(np.float32)}  # which nobody reads


def write_part(
    path: Path,
    detector: Detector,
    metadata: dict[str, str] | None = None,
    *,
    batch: int | str = "batch",
    seed: int = 5,
    pixels: bool = False,
) -> Path:
    """One file.

    Args:
        path: where.
        detector: its description.
        metadata: over what it says otherwise.
        batch: a size, or a name where any will do.
        seed: of the constants.
        pixels: it takes uint8 with the channels last, and its mean is one of pixels in 0..1.
    """
    channels, rows, columns = input_shape(detector)
    taken = [batch, channels or (3 if detector.part in ("network", "proposals") else CHANNELS), rows, columns]
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["sum"], keepdims=0, axes=[1, 2, 3]),
        helper.make_node("Div", ["sum", "range"], ["mean"]),
        helper.make_node("Add", ["mean", "one"], ["factor"]),
    ]
    scalars = {"one": 1, "range": 255 if pixels else 1}
    given, stored = [], [numpy_helper.from_array(np.array(each, np.float32), name) for name, each in scalars.items()]
    for number, (name, value) in enumerate(constants(detector, seed).items()):
        shape = np.array([-1, *([1] * (value.ndim - 1))], np.int64)
        stored += [numpy_helper.from_array(value, f"c{number}"), numpy_helper.from_array(shape, f"s{number}")]
        nodes.append(helper.make_node("Reshape", ["factor", f"s{number}"], [f"f{number}"]))
        nodes.append(helper.make_node("Mul", [f"c{number}", f"f{number}"], [name]))
        given.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *value.shape[1:]]))
    if pixels:
        taken = [taken[0], taken[2], taken[3], taken[1]]
    image = helper.make_tensor_value_info("x", TensorProto.UINT8 if pixels else TensorProto.FLOAT, taken)
    graph = helper.make_graph(nodes, "made up", [image], given, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told = {"mptq.arch": "made up", DETECTOR_KEY: detector_text(detector), CONTENTS_KEY: path.name}
    if detector.part in ("network", "proposals"):
        told |= preprocessing(detector).to_metadata()
    helper.set_model_props(model, {key: value for key, value in {**told, **(metadata or {})}.items() if value})
    onnx.save(model, path)
    return path


def write_all(path: Path, detector: Detector, *, batch: int | str = "batch") -> Path:
    """All files of a detector of two stages."""
    write_part(path, detector, batch=batch)
    heads: tuple[Part, ...] = ("box", "mask")
    for part in heads:
        write_part(part_path(path, part), replace(detector, part=part), {FIRST_KEY: path.name}, batch=batch)
    return path
